/** Two measures of one thing, taken in turns: printed and kept as each is done, so that a long part may be ended early. */
import { median, table } from "./measure.ts";
import { keepResults } from "./results.ts";

/** What is compared with, and what is looked at. */
export type Pair = readonly [base: number, ours: number];

export interface Comparison {
  readonly name: string;
  readonly unit: "ms" | "objects/s" | "MiB";
  readonly base: string;
  readonly ours: string;
  /** In the unit, by rounds. */
  readonly rounds: readonly Pair[];
  /** Median of the rounds' ratios of ours to the base. */
  readonly ratio: number;
  readonly goal?: { readonly atMost: number } | { readonly atLeast: number };
}

export class Comparisons {
  readonly #part: string;
  readonly #done: Comparison[] = [];
  /** Small numbers show that a measurement works; they are not kept. */
  readonly #keep: boolean;

  constructor(part: string, size: "whole" | "quick") {
    this.#part = part;
    this.#keep = size === "whole";
  }

  add(comparison: Omit<Comparison, "ratio">): void {
    const ratio = median(comparison.rounds.map(([base, ours]) => ours / base));
    const done = { ...comparison, ratio };
    this.#done.push(done);
    console.log(`${done.name}: ${done.rounds.map(([base, ours]) => (ours / base).toFixed(2)).join(", ")}`);
    if (this.#keep) keepResults(`connectors-${this.#part}`, this.#done);
  }

  print(): void {
    const heading = ["", "compared with", "", "measured", "", "ratio", "goal"];
    const rows = this.#done.map(cellsOf);
    console.log(`\n${table([heading, ...rows.map((cells) => [...cells])])}`);
  }
}

/** Name, base and its median, ours and its median, ratio, goal. */
export function cellsOf({ name, unit, base, ours, rounds, ratio, goal }: Comparison): readonly string[] {
  const middle = (which: 0 | 1) => {
    const value = median(rounds.map((pair) => pair[which]));
    return `${value < 100 ? value.toFixed(1) : value.toFixed(0)} ${unit}`;
  };
  return [name, base, middle(0), ours, middle(1), ratio.toFixed(2), goalText(goal)];
}

function goalText(goal: Comparison["goal"]): string {
  if (goal === undefined) return "";
  return "atMost" in goal ? `at most ${goal.atMost}` : `at least ${goal.atLeast}`;
}
