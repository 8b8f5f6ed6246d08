/** Groups whose records are kept; older ones are deleted by newer commits. */
export const maxRecords = 50;

export function recordsOf(group: number): string[] {
  return Array.from({ length: 8 }, (_, index) => `group/${String(group).padStart(8, '0')}/${index}`);
}

/** From a part of a page to several pages. */
export function sizeOf(group: number): number {
  return 10 + (group % 13) * 700;
}
