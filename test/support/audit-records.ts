import { hash } from 'node:crypto';
import { encodeRecord } from '../../src/audit/format/record.ts';

/** Records as the service writes them, of seven keys of three tenants. Always the same ones. */
export function* auditRecords(count: number): Generator<Uint8Array> {
  const seqs: number[] = Array(7).fill(0);
  for (let index = 0; index < count; index++) {
    const key = (index * 5) % 7;
    const tenant = ['acme', 'globex', 'initech'][key % 3]!;
    const id = hash('sha256', `operation ${index}`, 'hex');
    seqs[key]!++;
    const text = encodeRecord({
      actor: `spiffe://${tenant}/web-${index % 40}`,
      alg: key % 2 === 0 ? 'ed25519' : 'ml-dsa-65',
      input_hash: `hmac-sha256:k1:${hash('sha256', `payload ${index}`, 'hex')}`,
      key_id: `${tenant}/tls/ed25519/0192f7c1-5b1e-7c3a-9d2e-00000000000${key}`,
      key_version: 1,
      op_id: `${id.slice(0, 8)}-${id.slice(8, 12)}-4${id.slice(13, 16)}-a${id.slice(17, 20)}-${id.slice(20, 32)}`,
      purpose: 'sign',
      result: index % 50 === 49 ? 'denied:PolicyViolation' : 'ok',
      seq: seqs[key]!,
      tenant,
      ts: 1_763_769_600_000_000 + index * 50,
      v: 1,
    });
    yield Buffer.from(text);
  }
}
