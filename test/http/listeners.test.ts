import { listenerContract } from '../contracts/listener.ts';
import { listenerKinds } from '../support/listener-kinds.ts';

for (const kind of listenerKinds) listenerContract(kind);
