import type { Result } from '../../core/result.ts';
import type { Caller } from '../../core/scope.ts';
import type { KeyHandle } from '../../keys/keyring.ts';
import type { OperationParts, ReceiptFacts, ResolvedKey, Subjects } from '../operation.ts';
import type { IdentifiedCall } from './requests.ts';

/** What operations about one key_id say of their calls. */
interface AskedByKeyId {
  resolve(request: IdentifiedCall, caller: Caller): ResolvedKey | Promise<ResolvedKey>;
  subjects(request: IdentifiedCall): Subjects;
  receipt(request: IdentifiedCall | undefined): ReceiptFacts;
}

/** The kid is found before anything is judged; the call itself says where it is, so that a refused one has a receipt too. */
export function askedOf({ keyring }: Pick<OperationParts, 'keyring'>): AskedByKeyId {
  return {
    resolve({ keyId }, { tenant }) {
      const found = keyring.findByKeyId(tenant, keyId.toLowerCase());
      return found instanceof Promise ? found.then(namedBy) : namedBy(found);
    },
    subjects: ({ kid }) => (kid === undefined ? noKey : [kid]),
    receipt: (request) => {
      if (request === undefined) return {};
      const { environment, plane, keyId } = request;
      return { environment, plane, keyId: keyId.toLowerCase() };
    },
  };
}

const noKey: Subjects = { alg: 'none' };
const nothing: ResolvedKey = {};

function namedBy(found: Result<KeyHandle>): ResolvedKey {
  return found.ok ? { kid: found.value.version.kid } : nothing;
}
