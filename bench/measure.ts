/** Measuring in turns, by processor time: what is compared shares the machine's moods, and others' work counts less. */
import { parseArgs } from "node:util";

export interface Measured {
  readonly name: string;
  /** Of processor time, for one unit of work: the median of the rounds. */
  readonly nanoseconds: number;
  readonly rounds: readonly number[];
}

/** Median of the ratios of the rounds: what slows a round down slows both. */
export function ratio(a: Measured, b: Measured): number {
  return median(a.rounds.map((value, round) => value / b.rounds[round]!));
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
      const start = process.cpuUsage();
      run();
      const { user, system } = process.cpuUsage(start);
      if (round >= 0) times.get(name)!.push(((user + system) * 1_000) / units);
    }
  }
  return [...times].map(([name, all]) => ({ name, nanoseconds: median(all), rounds: all }));
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >>> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Numbers of objects, as `--sizes` (on Azurite) and `--memory-sizes` (in memory) ask for them. */
export function sizesOf(args: readonly string[]): {
  readonly sizes?: number[];
  readonly memorySizes?: number[];
} {
  const { values } = parseArgs({
    args: [...args],
    options: { sizes: { type: "string" }, "memory-sizes": { type: "string" } },
  });
  const numbers = (list: string | undefined) =>
    list
      ?.split(",")
      .map(Number)
      .filter((number) => number > 0);
  const sizes = numbers(values.sizes);
  const memorySizes = numbers(values["memory-sizes"]);
  return { ...(sizes && { sizes }), ...(memorySizes && { memorySizes }) };
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
