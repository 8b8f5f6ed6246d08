import { fromJSON } from '@grpc/proto-loader';

/** k8s.io/kms/apis/v2/api.proto, as the JSON descriptor of protobufjs. */
const descriptor = {
  nested: {
    v2: {
      options: { syntax: 'proto3' },
      nested: {
        KeyManagementService: {
          methods: {
            Status: { requestType: 'StatusRequest', responseType: 'StatusResponse' },
            Decrypt: { requestType: 'DecryptRequest', responseType: 'DecryptResponse' },
            Encrypt: { requestType: 'EncryptRequest', responseType: 'EncryptResponse' },
          },
        },
        StatusRequest: { fields: {} },
        StatusResponse: {
          fields: {
            version: { type: 'string', id: 1 },
            healthz: { type: 'string', id: 2 },
            key_id: { type: 'string', id: 3 },
          },
        },
        DecryptRequest: {
          fields: {
            ciphertext: { type: 'bytes', id: 1 },
            uid: { type: 'string', id: 2 },
            key_id: { type: 'string', id: 3 },
            annotations: { keyType: 'string', type: 'bytes', id: 4 },
          },
        },
        DecryptResponse: { fields: { plaintext: { type: 'bytes', id: 1 } } },
        EncryptRequest: {
          fields: { plaintext: { type: 'bytes', id: 1 }, uid: { type: 'string', id: 2 } },
        },
        EncryptResponse: {
          fields: {
            ciphertext: { type: 'bytes', id: 1 },
            key_id: { type: 'string', id: 2 },
            annotations: { keyType: 'string', type: 'bytes', id: 3 },
          },
        },
      },
    },
  },
};

export interface KmsV2StatusResponse {
  readonly version: string;
  readonly healthz: string;
  readonly key_id: string;
}

export interface KmsV2EncryptRequest {
  readonly plaintext: Uint8Array;
  /** Id of the request, for logs; Kubernetes sends a UUID. */
  readonly uid: string;
}

export interface KmsV2EncryptResponse {
  readonly ciphertext: Uint8Array;
  readonly key_id: string;
}

export interface KmsV2DecryptRequest {
  readonly ciphertext: Uint8Array;
  readonly uid: string;
  readonly key_id: string;
  readonly annotations: Readonly<Record<string, Uint8Array>>;
}

export interface KmsV2DecryptResponse {
  readonly plaintext: Uint8Array;
}

/** The methods of v2.KeyManagementService with their codecs. Absent members are empty (proto3). */
export function kmsV2Definition() {
  const definition = fromJSON(descriptor as Parameters<typeof fromJSON>[0], {
    keepCase: true,
    defaults: true,
    objects: true,
  });
  return definition['v2.KeyManagementService'] as Exclude<
    (typeof definition)[string],
    { readonly format: string }
  >;
}
