import { type AuditRecord, logKeyId, parseRecord } from '../format/record.ts';
import {
  decodeBundle,
  entriesLevel,
  readTile,
  type TileReader,
  tilesAt,
  tileWidth,
} from '../format/tiles.ts';

/** As it stands in a record of that type (RFC 8785). */
const containing = Buffer.from('"type":"retention"');

/** The first index whose entries are still kept, where this is a record of the log that says so; else undefined. */
export function keptFrom({ key_id, tenant, type, data }: AuditRecord): number | undefined {
  const index = data?.minimum_index;
  const own = type === 'retention' && key_id === logKeyId && tenant === '';
  return own && typeof index === 'number' ? index : undefined;
}

/**
 * The first index whose entries are kept, as the log's own records from `minimumIndex` on say; 0 where none does. Every entry
 * from there on must be here: what is missing besides was lost, or taken away.
 */
export function retainedFrom(reader: TileReader, size: number, minimumIndex: number): number {
  let from = 0;
  if (minimumIndex === 0) return from;
  for (const tile of tilesAt(entriesLevel, size, Math.floor(minimumIndex / tileWidth))) {
    const bytes = readTile(reader, tile);
    if (bytes === undefined || !Buffer.from(bytes).includes(containing)) continue;
    const entries = decodeBundle(bytes, tile.width);
    for (const entry of entries.ok ? entries.value : []) {
      const record = parseRecord(entry);
      from = Math.max(from, (record && keptFrom(record)) ?? 0);
    }
  }
  return from;
}
