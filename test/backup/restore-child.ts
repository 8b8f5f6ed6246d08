/** Run by kill.test.ts: says when it begins, and restores. Arguments: the backup, the directory, the identity, `replace` or not. */
import { writeSync } from 'node:fs';
import { restoreBackup } from '../../src/backup/restore.ts';

const [from = '', dataDir = '', identity = '', how] = process.argv.slice(2);
writeSync(1, 'begins\n');
const restored = await restoreBackup({
  ...{ from, opens: { identities: [identity] }, targets: { dataDir, auditDir: undefined } },
  ...{ replace: how === 'replace', acceptRollback: undefined, witnesses: undefined },
  secretRule: { groupAllowed: false },
  progress() {},
  warn() {},
});
writeSync(1, `${restored.ok ? restored.value.kind : restored.reason}\n`);
