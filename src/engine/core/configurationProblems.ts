import type { ConfigurationProblem } from "./configuration.ts";
import { closest } from "./expression/problems.ts";

/** A setting that several places refer to is told at the first of them. */
export function oncePerSetting(problems: readonly ConfigurationProblem[]): readonly ConfigurationProblem[] {
  const isFirst = ({ setting }: ConfigurationProblem, index: number) =>
    setting === undefined || problems.findIndex((other) => other.setting === setting) === index;
  return problems.filter(isFirst);
}

export function didYouMean(name: string, known: Iterable<string>): string {
  const names = [...known];
  const suggestion = closest(name, names);
  return suggestion === undefined ? `Known: ${names.join(", ") || "none"}.` : `Did you mean "${suggestion}"?`;
}

export function missing(file: string, message: string, remedy: string): ConfigurationProblem {
  return { file, line: 1, column: 1, message, remedy };
}
