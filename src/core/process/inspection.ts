import { url } from 'node:inspector';
import { StartError } from '../start-error.ts';

/**
 * Ways in which Node shows a process's memory to others of the same machine, each by a flag that can also come with
 * NODE_OPTIONS: the inspector's port has no secret, heap snapshots and diagnostic reports are files. A file of Node's options can
 * hold any of them.
 */
const showingFlags =
  /(?:^|\s)(--(?:inspect(?:-brk|-wait|-port|-publish-uid)?|debug-port|heapsnapshot-signal|heapsnapshot-near-heap-limit|report-on-signal|report-on-fatalerror|report-uncaught-exception|experimental-config-file|experimental-default-config-file))(?=[=\s]|$)/;

/** Without this, SIGUSR1 opens the inspector on 127.0.0.1:9229 (the Node manual, "Signal events"). */
export function refuseInspectorBySignal(): void {
  process.on('SIGUSR1', () => {});
}

/** Throws a StartError where somebody can look into this process's memory, or could on a signal: it may hold no secrets then. */
export function refuseInspection(): void {
  const inspected = inspectedBy();
  if (inspected !== undefined)
    throw new StartError(
      `${inspected} shows this process's memory: leave it away, or set KMS_ALLOW_CORE_DUMPS=true`,
    );
}

function inspectedBy(): string | undefined {
  // Node takes an underscore for a hyphen, and quotes and backslashes away from NODE_OPTIONS.
  const options = (process.env.NODE_OPTIONS ?? '').replace(/["\\]/g, '');
  const flags = [...process.execArgv, options].join(' ').replaceAll('_', '-');
  const flag = showingFlags.exec(flags)?.[1];
  if (flag !== undefined) return `Node's flag ${flag}`;
  const { reportOnSignal, reportOnFatalError, reportOnUncaughtException } = process.report;
  if (reportOnSignal || reportOnFatalError || reportOnUncaughtException) return "Node's diagnostic report";
  return url() === undefined ? undefined : "Node's inspector, which is open";
}
