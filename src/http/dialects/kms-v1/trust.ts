import { type Static, Type } from '@sinclair/typebox';
import { parseUtc } from '../../../auth/utc.ts';
import { ok, type Result, refuse } from '../../../core/result.ts';
import { planes } from '../../../core/scope.ts';
import type { Operation } from '../../../operations/operation.ts';
import type {
  AddAnchorRequest,
  AddedAnchor,
  ChainVerdict,
  EnrolAnswer,
  EnrolRequest,
  ListAnchorsRequest,
  ListEnrolledRequest,
  ListedAnchors,
  ReadAnchorRequest,
  RemoveAnchorRequest,
  RevocationListRequest,
  ValidateChainRequest,
} from '../../../operations/trust/requests.ts';
import type { TrustAnchor } from '../../../trust/anchor-records.ts';
import type { EnrolledCertificate, EnrolledPage } from '../../../trust/enrolled.ts';
import type { Endpoint, Presented, WireRequest } from '../../dialect.ts';
import { approvedRequestSha256, shapeOf } from '../../json-requests.ts';
import { approvalOf } from './approvals.ts';
import {
  approvalText,
  cursorText,
  decodedBytes,
  limitText,
  momentText,
  namedPlace,
  opIdText,
  pageOf,
  placed,
  read,
  readQuery,
  timeText,
} from './schemas.ts';

/** A certificate of an ML-DSA-87 key with its signature has 8 KiB; in PEM a third more. */
const maxCertificateBytes = 32 * 1024;
/** 20,000 entries have 700 KiB; what a body may have in all is KMS_MAX_PAYLOAD. */
const maxListBytes = 12 * 1024 * 1024;

const approvable = { approval_token: Type.Optional(approvalText), op_id: Type.Optional(opIdText) };
const pem = '-----BEGIN ';

/** Base64 of DER or of PEM, or PEM as it is. */
const encodedText = Type.String({ minLength: 1, description: 'base64 of DER or of PEM, or PEM itself' });

function encodedBytes(text: string, name: string, maxBytes: number): Result<Uint8Array> {
  if (!text.startsWith(pem)) return decodedBytes(text, name, maxBytes);
  return text.length > maxBytes
    ? refuse('TooLarge', `${name}: at most ${maxBytes} bytes`)
    : ok(Buffer.from(text));
}

interface ApprovableBody {
  readonly approval_token?: string;
  readonly op_id?: string;
}

/** What a change of trust has besides its subject. */
function changeOf(body: ApprovableBody & Parameters<typeof namedPlace>[0], request: WireRequest) {
  const approval = approvalOf(body, request);
  if (!approval.ok) return approval;
  return ok({
    ...namedPlace(body),
    ...{ approval: approval.value, opId: body.op_id, requestSha256: approvedRequestSha256({ ...body }) },
  });
}

const planeName = Type.Union(planes.map((name) => Type.Literal(name)));

export const addAnchorBody = placed({
  certificate: encodedText,
  anchor_type: Type.Union([Type.Literal('internal_ca'), Type.Literal('external_ca'), Type.Literal('root')]),
  planes: Type.Optional(
    Type.Union(
      [Type.Literal('all'), Type.Array(planeName, { minItems: 1, maxItems: 4, uniqueItems: true })],
      {
        description: 'where it is trusted; the plane of the request where it is absent',
      },
    ),
  ),
  ca_kid: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 256,
      description: 'the kid of a key here that it is the certificate of',
    }),
  ),
  ...approvable,
});

/** POST /trust-anchors */
export function addAnchorEndpoint(
  operation: Operation<AddAnchorRequest, AddedAnchor>,
): Endpoint<AddAnchorRequest, AddedAnchor> {
  return {
    operation,
    parse: read(shapeOf(addAnchorBody), (body, request) => {
      const certificate = encodedBytes(body.certificate, 'certificate', maxCertificateBytes);
      if (!certificate.ok) return certificate;
      const change = changeOf(body, request);
      if (!change.ok) return change;
      const { anchor_type: type, ca_kid: caKid } = body;
      return ok({ ...change.value, certificate: certificate.value, type, planes: body.planes, caKid });
    }),
    present: ({ anchor }) => ({
      status: 201,
      body: { trust_anchor_id: anchor.id, anchor_type: anchor.type },
    }),
  };
}

export const listAnchorsQuery = placed({ cursor: cursorText, limit: limitText });

/** GET /trust-anchors */
export function listAnchorsEndpoint(
  operation: Operation<ListAnchorsRequest, ListedAnchors>,
): Endpoint<ListAnchorsRequest, ListedAnchors> {
  return {
    operation,
    parse: readQuery(shapeOf(listAnchorsQuery), (query) => ok({ ...namedPlace(query), ...pageOf(query) })),
    present: ({ anchors, nextCursor }) => ({
      status: 200,
      body: {
        trust_anchors: anchors.map(presentAnchor),
        ...(nextCursor === undefined ? undefined : { next_cursor: nextCursor }),
      },
    }),
  };
}

export const anchorQuery = placed({});

/** GET /trust-anchors/{trust_anchor_id} */
export function readAnchorEndpoint(
  operation: Operation<ReadAnchorRequest, TrustAnchor>,
): Endpoint<ReadAnchorRequest, TrustAnchor> {
  return {
    operation,
    parse: readQuery(shapeOf(anchorQuery), (query, { named = '' }) =>
      ok({ ...namedPlace(query), id: named }),
    ),
    present: (anchor) => ({ status: 200, body: presentAnchor(anchor) }),
  };
}

export const removeAnchorQuery = placed({ op_id: Type.Optional(opIdText) });
export const removeAnchorBody = placed(approvable);

/** DELETE /trust-anchors/{trust_anchor_id}: the place in the query, as proxies drop such bodies, or in a body. */
export function removeAnchorEndpoint(
  operation: Operation<RemoveAnchorRequest, TrustAnchor>,
): Endpoint<RemoveAnchorRequest, TrustAnchor> {
  const requestOf = (given: Static<typeof removeAnchorBody>, request: WireRequest) => {
    const change = changeOf(given, request);
    return change.ok ? ok({ ...change.value, id: request.named ?? '' }) : change;
  };
  const fromBody = read(shapeOf(removeAnchorBody), requestOf);
  const fromQuery = readQuery(shapeOf(removeAnchorQuery), requestOf);
  return {
    operation,
    parse: (request) => (request.body.length > 0 ? fromBody(request) : fromQuery(request)),
    present: ({ id }) => ({ status: 200, body: { trust_anchor_id: id, removed: true } }),
  };
}

export const revocationListBody = placed({ crl: encodedText, ...approvable });

/** POST /trust-anchors/{trust_anchor_id}/crl */
export function revocationListEndpoint(
  operation: Operation<RevocationListRequest, TrustAnchor>,
): Endpoint<RevocationListRequest, TrustAnchor> {
  return {
    operation,
    parse: read(shapeOf(revocationListBody), (body, request) => {
      const list = encodedBytes(body.crl, 'crl', maxListBytes);
      if (!list.ok) return list;
      const change = changeOf(body, request);
      return change.ok ? ok({ ...change.value, id: request.named ?? '', list: list.value }) : change;
    }),
    present: (anchor) => ({ status: 200, body: presentAnchor(anchor) }),
  };
}

const purposes = ['server_auth', 'client_auth', 'email_protection', 'code_signing'] as const;

export const validateChainBody = placed({
  chain: Type.Array(encodedText, {
    minItems: 1,
    maxItems: 16,
    description: 'the certificate, then those between',
  }),
  purpose: Type.Optional(Type.Union(purposes.map((name) => Type.Literal(name)))),
  at: Type.Optional(momentText),
});

const badMoment = refuse('BadRequest', 'at is a time in UTC: 2027-01-31T12:00:00Z');

/** POST /trust-anchors/validate */
export function validateChainEndpoint(
  operation: Operation<ValidateChainRequest, ChainVerdict>,
): Endpoint<ValidateChainRequest, ChainVerdict> {
  return {
    operation,
    parse: read(shapeOf(validateChainBody), (body) => {
      const chain: Uint8Array[] = [];
      for (const text of body.chain) {
        const certificate = encodedBytes(text, 'chain', maxCertificateBytes);
        if (!certificate.ok) return certificate;
        chain.push(certificate.value);
      }
      const atMs = body.at === undefined ? undefined : parseUtc(body.at);
      if (body.at !== undefined && atMs === undefined) return badMoment;
      return ok({ ...namedPlace(body), chain, purpose: body.purpose, atMs });
    }),
    present: presentVerdict,
  };
}

function presentVerdict({ valid, problem, depth, path, anchorId, ...more }: ChainVerdict): Presented {
  return {
    status: 200,
    body: {
      ...{ valid, problem: problem ?? null, depth: depth ?? null, path_sha256: path },
      ...{ trust_anchor_id: anchorId ?? null, revocation_checked: more.revocationChecked },
      validated_at: timeText(more.atMs),
    },
  };
}

export const enrolBody = placed({
  csr: encodedText,
  anchor_id: Type.String({ minLength: 1, maxLength: 64 }),
  ca_kid: Type.Optional(Type.String({ minLength: 1, maxLength: 256 })),
  valid_days: Type.Optional(Type.Integer({ minimum: 1, maximum: 397 })),
  ...approvable,
});

/** POST /certificates */
export function enrolEndpoint(
  operation: Operation<EnrolRequest, EnrolAnswer>,
): Endpoint<EnrolRequest, EnrolAnswer> {
  return {
    operation,
    parse: read(shapeOf(enrolBody), (body, request) => {
      const csr = encodedBytes(body.csr, 'csr', maxCertificateBytes);
      if (!csr.ok) return csr;
      const change = changeOf(body, request);
      if (!change.ok) return change;
      const { anchor_id: anchorId, ca_kid: caKid, valid_days: validDays } = body;
      return ok({ ...change.value, csr: csr.value, anchorId, caKid, validDays });
    }),
    present: ({ certificate, issuerDer }) => ({
      status: 201,
      body: { ...presentEnrolled(certificate), issuer_certificate: pemText(issuerDer) },
    }),
  };
}

export const listCertificatesQuery = placed({ cursor: cursorText, limit: limitText });

/** GET /certificates */
export function listCertificatesEndpoint(
  operation: Operation<ListEnrolledRequest, EnrolledPage>,
): Endpoint<ListEnrolledRequest, EnrolledPage> {
  return {
    operation,
    parse: readQuery(shapeOf(listCertificatesQuery), (query) =>
      ok({ ...namedPlace(query), ...pageOf(query) }),
    ),
    present: ({ certificates, nextCursor }) => ({
      status: 200,
      body: {
        certificates: certificates.map(presentEnrolled),
        ...(nextCursor === undefined ? undefined : { next_cursor: nextCursor }),
      },
    }),
  };
}

function presentEnrolled({ id, anchorId, kid, der, sha256, notBeforeMs, notAfterMs }: EnrolledCertificate) {
  return {
    ...{ certificate_id: id, anchor_id: anchorId, ca_kid: kid, certificate: pemText(der), sha256 },
    ...{ valid_from: timeText(notBeforeMs), valid_until: timeText(notAfterMs) },
  };
}

function presentAnchor({ id, tenant, type, places, addedAtMs, certificate, der, caKid, list }: TrustAnchor) {
  return {
    ...{ trust_anchor_id: id, tenant_id: tenant, anchor_type: type, places },
    ...{ subject: certificate.subject, issuer: certificate.issuer, serial_number: certificate.serial },
    ...{ sha256: certificate.sha256, valid_from: timeText(certificate.notBeforeMs) },
    ...{ valid_until: timeText(certificate.notAfterMs), added_at: timeText(addedAtMs) },
    ...(caKid === undefined ? undefined : { ca_kid: caKid }),
    crl:
      list === undefined
        ? null
        : {
            ...{ number: list.number ?? null, entries: list.entries, sha256: list.sha256 },
            ...{ this_update: timeText(list.thisUpdateMs), next_update: timeText(list.nextUpdateMs) },
          },
    certificate: pemText(der),
  };
}

/** RFC 7468. */
function pemText(der: Uint8Array): string {
  const lines = Buffer.from(der).toString('base64').replace(/.{64}/g, '$&\n').trim();
  return `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`;
}
