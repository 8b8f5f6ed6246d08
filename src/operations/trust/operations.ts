import type { OperationParts } from '../operation.ts';
import {
  addAnchorOperation,
  listAnchorsOperation,
  readAnchorOperation,
  removeAnchorOperation,
  setRevocationListOperation,
} from './anchors.ts';
import { enrolOperation, listEnrolledOperation } from './enrol.ts';
import type { TrustParts } from './parts.ts';
import { validateChainOperation } from './validate.ts';

/** What can be asked of trust anchors and certificates. A surface that has these has them under its own names. */
export function createTrustOperations(parts: OperationParts & { readonly trust: TrustParts }) {
  const { trust, clock } = parts;
  return {
    add: addAnchorOperation({ ...parts, ...trust }),
    list: listAnchorsOperation(trust),
    read: readAnchorOperation(trust),
    remove: removeAnchorOperation(trust),
    crl: setRevocationListOperation(trust),
    validate: validateChainOperation({ ...trust, clock }),
    enrol: enrolOperation({ ...parts, ...trust }),
    certificates: listEnrolledOperation(trust),
  };
}
