import type { Named, TpmClient } from './client.ts';
import { TpmError } from './errors.ts';
import { commands, handles, nvAttributes as nv, responseCodes, tpmAlgorithms } from './numbers.ts';
import { withSession, withStorageRoot } from './objects.ts';
import { objectName } from './public-area.ts';
import { Reader, Writer } from './wire.ts';

/** An NV counter: it only grows, even over a new definition (TPM 2.0 part 1, 37.2.4). */
export interface CounterPlace {
  /** NV index from 0x01000000 on. TCG's registry leaves 0x01800000 to 0x01BFFFFF to the owner. */
  readonly index: number;
  /** Name of the storage root key, hex, which salts the session. Undefined: the one that is there. */
  readonly parent: string | undefined;
  /** Authorization value, which allows reading and incrementing alone. */
  readonly auth: Uint8Array;
}

export interface CounterRead {
  readonly value: number;
  /** Name of the storage root key, hex. */
  readonly parent: string;
}

const attributes = nv.authRead | nv.authWrite | nv.counter | nv.noDa;
const counterBytes = 8;

/** True where a counter is defined at this index, whoever did it. Throws a TpmError where it is no counter such as ours. */
export async function isDefined(client: TpmClient, index: number): Promise<boolean> {
  const found = await readNvPublic(client, index);
  if (found !== undefined && !isCounter(found.attributes))
    throw new TpmError(notOurs, responseCodes.nvDefined);
  return found !== undefined;
}

function isCounter(found: number): boolean {
  return (found & ~nv.written) === attributes;
}

const notOurs =
  'what it has at this index is another thing than our counter: take another index, or take it away (tpm2_nvundefine)';

/** Makes the counter, and increments it once: before that it cannot be read. */
export async function defineCounter(client: TpmClient, place: CounterPlace): Promise<void> {
  const info = new Writer()
    .u32(place.index)
    .u16(tpmAlgorithms.sha256)
    .u32(attributes)
    .sized(Buffer.alloc(0))
    .u16(counterBytes);
  await withRoot(client, place, (root) =>
    withSession(client, 'hmac', root, (session) =>
      client.run({
        ...{ code: commands.nvDefineSpace, handles: [owner], by: session.with({ encryptsCommand: true }) },
        parameters: new Writer().sized(place.auth).sized(info.done()).done(),
      }),
    ),
  );
  await incrementCounter(client, place);
}

/** Undefines the counter at this index, whoever defined it. Throws a TpmError where it is no counter such as ours. */
export async function undefineCounter(client: TpmClient, place: CounterPlace): Promise<void> {
  const found = await readNvPublic(client, place.index);
  if (found === undefined) return;
  if (!isCounter(found.attributes)) throw new TpmError(notOurs, responseCodes.nvDefined);
  await withRoot(client, place, (root) =>
    withSession(client, 'hmac', root, (session) =>
      client.run({ code: commands.nvUndefineSpace, handles: [owner, found], by: session.with({}) }),
    ),
  );
}

export async function incrementCounter(client: TpmClient, place: CounterPlace): Promise<void> {
  await withCounter(client, place, (run) => run(commands.nvIncrement, Buffer.alloc(0)));
}

/** The answer carries an HMAC that only the TPM of `parent` can make. */
export async function readCounter(client: TpmClient, place: CounterPlace): Promise<CounterRead> {
  return withCounter(client, place, async (run, parent) => {
    const parameters = await run(commands.nvRead, new Writer().u16(counterBytes).u16(0).done());
    const value = Number(new Reader(parameters.sized()).u64());
    return { value, parent };
  });
}

const refusals = new Set<number | undefined>([responseCodes.authFail, responseCodes.badAuth]);
const owner: Named = { handle: handles.owner, name: new Writer().u32(handles.owner).done() };

function withRoot<T>(
  client: TpmClient,
  { parent }: CounterPlace,
  use: Parameters<typeof withStorageRoot<T>>[2],
): Promise<T> {
  return withStorageRoot(client, parent === undefined ? undefined : Buffer.from(parent, 'hex'), use);
}

async function withCounter<T>(
  client: TpmClient,
  place: CounterPlace,
  use: (run: (code: number, parameters: Buffer) => Promise<Reader>, parent: string) => Promise<T>,
): Promise<T> {
  const index = await readNvPublic(client, place.index);
  if (index === undefined) throw new TpmError('it has no such counter', responseCodes.handle);
  if (!isCounter(index.attributes)) throw new TpmError(notOurs, responseCodes.nvDefined);
  return withRoot(client, place, (root) =>
    withSession(client, 'hmac', root, (session) => {
      const by = session.with({ secret: withoutZeros(place.auth) });
      const run = async (code: number, parameters: Buffer) => {
        try {
          return (await client.run({ code, handles: [index, index], by, parameters })).parameters;
        } catch (cause) {
          // The value is random: nothing counts towards the lock-out (TPMA_NV_NO_DA).
          if (cause instanceof TpmError && refusals.has(cause.code))
            throw new TpmError('what it has at this index is another counter than ours', cause.code);
          throw cause;
        }
      };
      return use(run, Buffer.from(root.name).toString('hex'));
    }),
  );
}

/** The name comes of the TPM's answer: a changed answer gives a name that no command accepts. */
async function readNvPublic(
  client: TpmClient,
  index: number,
): Promise<(Named & { readonly attributes: number }) | undefined> {
  try {
    const { parameters } = await client.run({
      code: commands.nvReadPublic,
      handles: [{ handle: index, name: Buffer.alloc(0) }],
    });
    const area = parameters.sized();
    const reader = new Reader(area);
    reader.take(6);
    return { handle: index, name: objectName(area), attributes: reader.u32() };
  } catch (cause) {
    if (cause instanceof TpmError && cause.code === responseCodes.handle) return undefined;
    throw cause;
  }
}

function withoutZeros(auth: Uint8Array): Uint8Array {
  let end = auth.length;
  while (end > 0 && auth[end - 1] === 0) end--;
  return auth.subarray(0, end);
}
