/**
 * One YAML file of the configuration, with the places of its values: whatever is found wrong later is told with the
 * line and column where it stands.
 */
import { isMap, isScalar, LineCounter, type Node, type Pair, parseDocument } from "yaml";
import type { z } from "zod";
import type { ConfigurationFile, ConfigurationProblem } from "./configuration.ts";
import { closest } from "./expression/problems.ts";

export type Path = readonly (string | number)[];

export class YamlFile {
  readonly file: string;
  /** As plain JavaScript; undefined when the text is not YAML. */
  readonly content: unknown;
  readonly problems: ConfigurationProblem[] = [];
  readonly #document: ReturnType<typeof parseDocument>;
  readonly #lines = new LineCounter();
  readonly #text: string;

  constructor({ file, text }: ConfigurationFile) {
    this.file = file;
    this.#text = text;
    this.#document = parseDocument(text, { lineCounter: this.#lines, prettyErrors: false });
    for (const error of this.#document.errors)
      this.problems.push({
        file,
        ...this.#position(error.pos[0]),
        message: `This is not YAML: ${error.message}.`,
        remedy: "Mend the indentation or the quotes here.",
      });
    this.content = this.problems.length === 0 ? this.#document.toJS() : undefined;
  }

  report(path: Path, message: string, remedy: string): void {
    this.problems.push(this.problem(path, message, remedy));
  }

  problem(path: Path, message: string, remedy: string, within?: { line: number; column: number }) {
    return { file: this.file, ...this.place(path, within), message, remedy };
  }

  /** Where the value stands; for one that is missing, where the thing stands that it is missing from. */
  place(path: Path, within?: { line: number; column: number }): { line: number; column: number } {
    const node = this.#node(path);
    const start = this.#position(node?.range?.[0] ?? 0);
    if (within === undefined || !isScalar(node)) return start;
    if (node.type === "BLOCK_LITERAL" || node.type === "BLOCK_FOLDED") {
      const line = start.line + within.line;
      const indent = /^ */.exec(this.#text.split("\n")[line - 1] ?? "")![0].length;
      return { line, column: indent + within.column };
    }
    const quote = node.type === "PLAIN" ? 0 : 1;
    return within.line === 1 ? { line: start.line, column: start.column + quote + within.column - 1 } : start;
  }

  /** Validates the content; what is wrong is in `problems`. */
  parse<T>(schema: z.ZodType<T>, content: unknown, knownKeys: readonly string[]): T | undefined {
    const result = schema.safeParse(content);
    if (result.success) return result.data;
    // A misspelt key is also missing under its right name; that is told once.
    const misspelt = new Set<string>();
    for (const issue of result.error.issues)
      if (issue.code === "unrecognized_keys")
        for (const key of issue.keys) misspelt.add(JSON.stringify([...issue.path, closest(key, knownKeys)]));
    for (const issue of result.error.issues)
      if (!misspelt.has(JSON.stringify(issue.path))) this.#reportIssue(issue, knownKeys);
    return undefined;
  }

  #reportIssue(issue: z.core.$ZodIssue, knownKeys: readonly string[]): void {
    const path = issue.path.filter((key) => typeof key !== "symbol");
    const name = path.at(-1);
    if (issue.code === "unrecognized_keys") {
      for (const key of issue.keys) {
        const suggestion = closest(key, knownKeys);
        const remedy = suggestion === undefined ? "Remove it." : `Did you mean "${suggestion}"?`;
        this.problems.push({
          file: this.file,
          ...this.#keyPlace(path, key),
          message: `"${key}" is not known here.`,
          remedy,
        });
      }
      return;
    }
    const isMissing = issue.code === "invalid_type" && this.#node(path, true) === undefined;
    if (isMissing) this.report(path, `"${name}" is missing.`, `Add "${name}" here.`);
    else this.report(path, `"${name}" is wrong: ${plainMessage(issue)}.`, "");
  }

  #keyPlace(path: Path, key: string): { line: number; column: number } {
    const map = this.#node(path);
    const pair = isMap(map)
      ? (map.items as Pair<Node, Node>[]).find((item) => isScalar(item.key) && item.key.value === key)
      : undefined;
    return pair?.key.range ? this.#position(pair.key.range[0]) : this.place(path);
  }

  #node(path: Path, exact = false): Node | undefined {
    for (let length = path.length; length >= 0; length--) {
      const node = (
        length === 0 ? this.#document.contents : this.#document.getIn(path.slice(0, length), true)
      ) as Node | null | undefined;
      if (node?.range) return node;
      if (exact) return undefined;
    }
    return undefined;
  }

  #position(offset: number): { line: number; column: number } {
    const { line, col } = this.#lines.linePos(offset);
    return { line: Math.max(1, line), column: Math.max(1, col) };
  }
}

function plainMessage(issue: z.core.$ZodIssue): string {
  if (issue.code === "invalid_value")
    return `it must be ${issue.values.map((value) => JSON.stringify(value)).join(" or ")}`;
  return issue.message.replace(/^Invalid input: /, "").replace(/\.$/, "");
}
