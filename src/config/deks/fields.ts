import { field } from '../field.ts';
import { boolean, integer, label } from '../kinds.ts';

/** Settings of data encryption keys that stay here. */
export const dekFields = {
  dek: field(
    'KMS_DEK',
    boolean,
    false,
    'Serves data encryption keys beside everything else: /create_dek_for_thread, /encrypt, /rotate_kek and the others of docs/dek.md. `serve-dek` serves nothing else and sets it.',
  ),
  dekTenant: field(
    'KMS_DEK_TENANT',
    label,
    'dek',
    'The tenant to which all data encryption keys belong, and their key encryption key. Capabilities of another tenant reach none of them. Never change it: the keys are found by it.',
  ),
  dekSnapshotDays: field(
    'KMS_DEK_SNAPSHOT_DAYS',
    integer(0, 3_650),
    30,
    'Days for which the record of a data encryption key before a rotation is kept, a file for each under <data dir>/kms-deks-backup. With the last file that needs it, an old version of the key encryption key is destroyed; 0 does both at once.',
  ),
  dekAllowPlainKek: field(
    'KMS_DEK_ALLOW_PLAIN_KEK',
    boolean,
    false,
    'Takes new_kek_hex of /rotate_kek, a key that others have seen. Otherwise the service makes each key encryption key itself.',
  ),
};
