/**
 * One YAML file of the configuration, with the places of its values: whatever is found wrong later is told with the
 * line and column where it stands.
 */
import { isMap, isScalar, LineCounter, type Node, type Pair, parseDocument, type Scalar } from "yaml";
import type { z } from "zod";
import type { ConfigurationFile, ConfigurationProblem } from "./configuration.ts";
import { closest } from "./expression/problems.ts";

export type Path = readonly (string | number)[];

/** A part of a text value: 1-based, as `Problem` of an expression has it. */
export interface Within {
  readonly line: number;
  readonly column: number;
  readonly length: number;
}

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
    this.content = this.problems.length === 0 ? this.#plain() : undefined;
  }

  /** Aliases of aliases multiply; the parser gives up where that becomes an attack on the memory. */
  #plain(): unknown {
    try {
      return this.#document.toJS();
    } catch (error) {
      if (!(error instanceof ReferenceError)) throw error;
      this.problems.push({
        file: this.file,
        ...this.#position(0),
        message: `The aliases cannot be resolved: ${error.message}.`,
        remedy: "Write the values out in place of the aliases.",
      });
      return undefined;
    }
  }

  report(path: Path, message: string, remedy: string): void {
    this.problems.push(this.problem(path, message, remedy));
  }

  problem(path: Path, message: string, remedy: string, within?: Within): ConfigurationProblem {
    return { file: this.file, ...this.place(path, within), message, remedy };
  }

  /** Where the value stands; for one that is missing, where the thing stands that it is missing from. */
  place(path: Path, within?: Within): { line: number; column: number; length?: number } {
    const node = this.#node(path);
    const start = node?.range?.[0] ?? 0;
    if (!isScalar(node) || !node.range) return this.#position(start);
    if (within === undefined || typeof node.value !== "string")
      return { ...this.#position(start), length: Math.max(1, node.range[1] - start) };
    const offset = offsetIn(node.value, within);
    const from = sourceOffset(this.#text, node, node.value, offset);
    const to = sourceOffset(this.#text, node, node.value, offset + within.length);
    return { ...this.#position(from), length: Math.max(1, to - from) };
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
    if (issue.code === "invalid_union") {
      const alternative = likeliestAlternative(issue.errors);
      for (const inner of alternative ?? [])
        this.#reportIssue({ ...inner, path: [...issue.path, ...inner.path] }, knownKeys);
      if (alternative !== undefined) return;
    }
    const isMissing = issue.code === "invalid_type" && this.#node(path, true) === undefined;
    const name = nameOf(path);
    if (name === "") {
      const what =
        this.content == null ? "The file is empty" : `The file is no mapping: ${plainMessage(issue)}`;
      this.report(path, `${what}.`, "Write `name: value` lines, as its neighbours have them.");
    } else if (isMissing) this.report(path, `"${name}" is missing.`, `Add "${name}" here.`);
    else this.report(path, `"${name}" is wrong: ${plainMessage(issue)}.`, this.#suggestion(issue, path));
  }

  /** For a word that is none of those that are known. */
  #suggestion(issue: z.core.$ZodIssue, path: Path): string {
    const node = this.#node(path, true);
    if (issue.code !== "invalid_value" || !isScalar(node)) return "";
    const near = closest(String(node.value), issue.values.map(String));
    return near === undefined ? "" : `Did you mean "${near}"?`;
  }

  #keyPlace(path: Path, key: string): { line: number; column: number; length?: number } {
    const map = this.#node(path);
    const pair = isMap(map)
      ? (map.items as Pair<Node, Node>[]).find((item) => isScalar(item.key) && item.key.value === key)
      : undefined;
    return pair?.key.range ? { ...this.#position(pair.key.range[0]), length: key.length } : this.place(path);
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

function offsetIn(value: string, { line, column }: Within): number {
  let start = 0;
  for (let i = 1; i < line; i++) start = value.indexOf("\n", start) + 1;
  return start + column - 1;
}

/** Where a character of a text value stands in the file, whichever way the text is written: quoted, block, folded. */
function sourceOffset(text: string, node: Scalar, value: string, offset: number): number {
  let at = node.range![0];
  const isBlock = node.type === "BLOCK_LITERAL" || node.type === "BLOCK_FOLDED";
  if (isBlock) at = text.indexOf("\n", at) + 1;
  else if (node.type !== "PLAIN") at++;
  const indent = isBlock
    ? /^(?:[ \t]*\r?\n)*( *)/.exec(text.slice(at))![1]!.length
    : Number.POSITIVE_INFINITY;
  const toContent = (position: number) => {
    let content = position;
    while (content - position < indent && /[ \t]/.test(text[content] ?? "")) content++;
    return content;
  };
  at = isBlock ? toContent(at) : at;
  for (let i = 0; i <= offset; i++) {
    const character = value[i];
    // Line ends that YAML folds away.
    while (/[\r\n]/.test(text[at] ?? "") && character !== " " && character !== "\n") {
      at = text[at] === "\n" ? toContent(at + 1) : at + 1;
    }
    if (i === offset) break;
    if (text[at] === "\r") at++;
    if (text[at] === "\n") at = toContent(at + 1);
    else if (node.type === "QUOTE_SINGLE" && character === "'") at += 2;
    else if (node.type === "QUOTE_DOUBLE" && text[at] === "\\") at += 2;
    else at++;
  }
  return at;
}

/** What people call the place: an item of a list goes by the name of its list. */
function nameOf(path: Path): string {
  return String(path.findLast((key) => typeof key === "string") ?? "");
}

/** The problems of the alternative that fits best, one that has the right shape and is wrong only further inside. */
function likeliestAlternative(
  alternatives: readonly (readonly z.core.$ZodIssue[])[],
): readonly z.core.$ZodIssue[] | undefined {
  return alternatives.find((issues) => issues.length > 0 && issues.every(({ path }) => path.length > 0));
}

function plainMessage(issue: z.core.$ZodIssue): string {
  if (issue.code === "invalid_value")
    return `it must be ${issue.values.map((value) => JSON.stringify(value)).join(" or ")}`;
  if (issue.code === "invalid_union")
    return [...new Set(issue.errors.flat().map(plainMessage))].join(", or ") || issue.message;
  return issue.message.replace(/^Invalid input: /, "").replace(/\.$/, "");
}
