import { readFileSync } from 'node:fs';
import { join } from 'node:path';

interface Dashboard {
  readonly panels: readonly {
    readonly title: string;
    readonly targets: readonly { readonly expr: string }[];
  }[];
}

const root = join(import.meta.dirname, '..', '..');

/** The queries of the dashboard that compose provisions, with a range in the place of Grafana's variable. */
export function dashboardQueries(): { title: string; query: string }[] {
  const text = readFileSync(join(root, 'deploy/grafana/dashboards/intaglio.json'), 'utf8');
  return (JSON.parse(text) as Dashboard).panels.flatMap(({ title, targets }) =>
    targets.map(({ expr }) => ({ title, query: expr.replaceAll('$__rate_interval', '1m') })),
  );
}
