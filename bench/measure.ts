/** Measuring in turns: what is compared shares the machine's moods. */

export interface Measured {
  readonly name: string;
  /** Median of the rounds, for one unit of work. */
  readonly nanoseconds: number;
}

/**
 * @param work each runs the same number of units; called once a round, in turns, after `warmUps` rounds that do not count
 * @param units of one call
 */
export function measure(
  work: Readonly<Record<string, () => void>>,
  units: number,
  { rounds = 15, warmUps = 5 } = {},
): readonly Measured[] {
  const times = new Map<string, number[]>(Object.keys(work).map((name) => [name, []]));
  for (let round = -warmUps; round < rounds; round++) {
    for (const [name, run] of Object.entries(work)) {
      const start = process.hrtime.bigint();
      run();
      const elapsed = Number(process.hrtime.bigint() - start);
      if (round >= 0) times.get(name)!.push(elapsed / units);
    }
  }
  return [...times].map(([name, all]) => ({ name, nanoseconds: median(all) }));
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >>> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Rows in columns; the first is left-aligned, the others right. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows
    .map((row) =>
      row
        .map((cell, column) => (column === 0 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!)))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
