import { url } from 'node:inspector';

/**
 * Ways in which Node shows a process's memory to others of the same machine, each by a flag that can also come with
 * NODE_OPTIONS: the inspector's port has no secret, heap snapshots and diagnostic reports are files.
 */
const showingFlags =
  /(?:^|\s)(--(?:inspect(?:-brk|-wait|-port|-publish-uid)?|debug-port|heapsnapshot-signal|heapsnapshot-near-heap-limit|report-on-signal|report-on-fatalerror|report-uncaught-exception))(?=[=\s]|$)/;

/** Without this, SIGUSR1 opens the inspector on 127.0.0.1:9229 (the Node manual, "Signal events"). */
export function refuseInspectorBySignal(): void {
  process.on('SIGUSR1', () => {});
}

/** Why this process may not hold secrets: somebody can look into its memory, or could on a signal. Undefined: nobody can. */
export function inspectedBy(): string | undefined {
  // Node takes an underscore for a hyphen.
  const flags = [...process.execArgv, process.env.NODE_OPTIONS ?? ''].join(' ').replaceAll('_', '-');
  const flag = showingFlags.exec(flags)?.[1];
  if (flag !== undefined) return `Node's flag ${flag}`;
  return url() === undefined ? undefined : "Node's inspector, which is open";
}
