import type { DekEndpointName } from './endpoints.ts';

/** Every path, by method. */
export const dekRoutes: Readonly<Record<string, Readonly<Record<string, DekEndpointName>>>> = {
  '/create_dek_for_thread': { post: 'create_for_thread' },
  '/deks': { post: 'create', get: 'list' },
  '/get_wrapped': { get: 'read' },
  '/wrap': { post: 'wrap' },
  '/unwrap': { post: 'unwrap' },
  '/encrypt': { post: 'encrypt' },
  '/decrypt': { post: 'decrypt' },
  '/rewrap': { post: 'rewrap' },
  '/rotate_kek': { post: 'rotate_kek' },
  '/rotate_dek': { post: 'rotate' },
  '/destroy_dek': { post: 'destroy' },
  '/keks': { get: 'keks' },
};
