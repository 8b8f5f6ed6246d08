import { Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { kmsV2Definition } from '../../src/grpc/kms-v2/protocol.ts';

export interface KmsV2Client {
  // biome-ignore lint/suspicious/noExplicitAny: answers are looked into as they come.
  ask(method: 'Status' | 'Encrypt' | 'Decrypt', request: unknown, deadlineMs?: number): Promise<any>;
  /** These bytes to this path, as they are. */
  raw(path: string, bytes: Uint8Array): Promise<Uint8Array>;
  close(): void;
}

/** A client of gRPC on a Unix socket. Rejects with the status of a refusal. */
export function kmsV2Client(socket: string): KmsV2Client {
  const client = new Client(`unix:${socket}`, credentials.createInsecure(), {
    'grpc.enable_retries': 0,
    'grpc.use_local_subchannel_pool': 1,
  });
  const definition = kmsV2Definition();
  const send = <Sent, Found>(
    path: string,
    ...[serialize, deserialize, sent, deadlineMs]: [
      (sent: Sent) => Buffer,
      (bytes: Buffer) => Found,
      Sent,
      number,
    ]
  ) =>
    new Promise<Found>((resolve, reject) => {
      client.makeUnaryRequest(
        ...[path, serialize, deserialize, sent],
        new Metadata(),
        { deadline: Date.now() + deadlineMs },
        (refused: ServiceError | null, found?: Found) => {
          if (refused !== null) reject(refused);
          else resolve(found as Found);
        },
      );
    });
  return {
    ask(method, request, deadlineMs = 30_000) {
      const { path, requestSerialize, responseDeserialize } = definition[method] as NonNullable<
        (typeof definition)[string]
      >;
      return send(path, requestSerialize, responseDeserialize, request as object, deadlineMs);
    },
    raw(path, bytes) {
      return send(
        path,
        (sent: Uint8Array) => Buffer.from(sent),
        (found) => found,
        bytes,
        30_000,
      );
    },
    close: () => client.close(),
  };
}
