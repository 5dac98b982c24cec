/**
 * A PowerShell script, read but never executed: literals, assignments of literals, splatted tables and `-OutVariable`
 * are followed, everything else stays unknown, with its source. Blocks are read as if each ran once.
 */
import { type Place, TakeoverError } from "./findings.ts";
import { type TextPart, type Token, tokenize } from "./powershellTokens.ts";

/** Nothing of this is ever the result of running anything. */
export type Value =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "boolean"; readonly value: boolean }
  | { readonly kind: "list"; readonly items: readonly Value[] }
  | { readonly kind: "table"; readonly entries: ReadonlyMap<string, Argument> }
  | { readonly kind: "rule"; readonly rule: ScriptedDraft }
  | { readonly kind: "condition"; readonly values: readonly Value[] }
  /** What the script would have to be run for, as it is written. */
  | { readonly kind: "unknown"; readonly source: string };

export interface Argument {
  readonly value: Value;
  readonly place: Place;
}
/** Parameters by name in lower case; positional ones by their number, an unknown splatted table as `@`. */
export interface Command {
  readonly name: string;
  readonly place: Place;
  readonly parameters: ReadonlyMap<string, Argument>;
}
/** One New-ADSyncRule, with the commands that add to its rule. */
export interface ScriptedDraft {
  readonly command: Command;
  /** Whether it stands in a block `{ … }`. */
  readonly inBlock: boolean;
  readonly flows: Command[];
  readonly scope: Command[];
  readonly join: Command[];
  added: boolean;
}

export interface ScriptReading {
  readonly drafts: readonly ScriptedDraft[];
  /** Quotes inside strings that are not doubled; ConfigDocumenter writes them so. */
  readonly undoubledQuotes: readonly Place[];
}

const nothing: Value = { kind: "unknown", source: "$null" };
const switches = new Set(["disabled", "enablepasswordsync", "executeonce"]);
const nestingMax = 64;

/** @throws TakeoverError for a script whose strings, comments or brackets have no end */
export function readScriptCommands(file: string, source: string): ScriptReading {
  const { tokens, undoubledQuotes } = tokenize(file, source);
  return { drafts: new ScriptReader(tokens).read(), undoubledQuotes };
}

class ScriptReader {
  readonly #tokens: readonly Token[];
  readonly #variables = new Map<string, Value>();
  readonly #drafts: ScriptedDraft[] = [];
  #next = 0;
  /** How many blocks `{ … }` the statement stands in. */
  #blocks = 0;
  #nesting = 0;

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
  }

  read(): readonly ScriptedDraft[] {
    while (this.#peek().kind !== "end") this.#statement();
    return this.#drafts;
  }

  /** A pipeline, or an assignment of one. Braces of blocks end statements: what is in a block is read like the rest. */
  #statement(): void {
    const token = this.#peek();
    if (token.kind === "separator") return void this.#take();
    if (this.#isMark("{") || this.#isMark("}")) {
      this.#blocks = Math.max(0, this.#blocks + (this.#isMark("{") ? 1 : -1));
      return void this.#take();
    }
    // [int] $x = 5
    while (this.#isMark("[") && this.#typeEnd() !== undefined && !this.#isTypeCall())
      this.#next = this.#typeEnd()!;
    const variable = this.#peek();
    const equals = this.#tokens[this.#next + 1];
    if (variable.kind === "variable" && equals?.kind === "mark" && equals.text === "=") {
      this.#next += 2;
      while (this.#peek().kind === "separator" && this.#peek(1).kind !== "separator") this.#take();
      const value = this.#pipeline();
      this.#variables.set(variable.name.toLowerCase(), value);
      return;
    }
    this.#pipeline();
  }

  #pipeline(): Value {
    const from = this.#next;
    let value = this.#element(undefined);
    let whole = true;
    while (!this.#atEnd()) {
      if (this.#isMark("|")) {
        this.#take();
        while (this.#peek().kind === "separator") this.#take();
        value = this.#element(value);
      } else {
        // An operator, a method call: only running it would tell.
        whole = false;
        this.#take();
      }
    }
    return whole ? value : { kind: "unknown", source: this.#source(from, this.#next) };
  }

  /** A command with its arguments, or a value. */
  #element(input: Value | undefined): Value {
    const token = this.#peek();
    if (this.#atEnd()) return nothing;
    if (token.kind !== "word" || /^\d/.test(token.text)) return this.#value();
    this.#take();
    const parameters = new Map<string, Argument>();
    const from = this.#next - 1;
    let name = token.text;
    // `Microsoft.Foo\New-ADSyncRule` and dotted words arrive in pieces.
    while (!this.#peek().spaced && (this.#isMark(".") || this.#peek().kind === "word"))
      name += this.#text(this.#take());
    while (!this.#atEnd() && !this.#isMark("|")) this.#argument(parameters);
    return this.#run({ name, place: token.place, parameters }, input, from);
  }

  #argument(parameters: Map<string, Argument>): void {
    const token = this.#peek();
    if (token.kind === "splat") {
      this.#take();
      const table = this.#variables.get(token.name.toLowerCase());
      if (table?.kind === "table")
        for (const [name, argument] of table.entries) parameters.set(name, argument);
      else parameters.set("@", { value: { kind: "unknown", source: `@${token.name}` }, place: token.place });
      return;
    }
    if (token.kind !== "parameter") {
      const value = this.#listOrValue();
      parameters.set(String(parameters.size), { value, place: token.place });
      return;
    }
    this.#take();
    const next = this.#peek();
    const isSwitch = switches.has(token.name);
    const hasValue =
      !this.#atEnd() &&
      !this.#isMark("|") &&
      next.kind !== "parameter" &&
      next.kind !== "splat" &&
      (!isSwitch || (next.kind === "variable" && /^(true|false)$/i.test(next.name)));
    const value: Value = hasValue ? this.#listOrValue() : { kind: "boolean", value: true };
    parameters.set(token.name, { value, place: next.place });
  }

  /** `'a','b'` is a list. */
  #listOrValue(): Value {
    const items = [this.#value()];
    while (this.#isMark(",")) {
      this.#take();
      while (this.#peek().kind === "separator") this.#take();
      items.push(this.#value());
    }
    return items.length === 1 ? items[0]! : { kind: "list", items };
  }

  #value(): Value {
    if (++this.#nesting > nestingMax) {
      this.#nesting = 0;
      const { place } = this.#peek();
      while (!this.#atEnd()) this.#take();
      return { kind: "unknown", source: `nested too deeply at line ${place.line}` };
    }
    const from = this.#next;
    let value = this.#primary();
    // Adjacent indexes and properties: $condition0[0], $connector.Identifier.Guid
    while (!this.#peek().spaced && (this.#isMark("[") || this.#isMark("."))) {
      const isIndex = this.#isMark("[");
      this.#take();
      if (!isIndex) {
        this.#take();
        value = { kind: "unknown", source: this.#source(from, this.#next) };
        continue;
      }
      const index = this.#value();
      if (this.#isMark("]")) this.#take();
      const number = index.kind === "text" ? Number(index.text) : Number.NaN;
      const item =
        value.kind === "list"
          ? value.items[number]
          : number === 0 && value.kind !== "unknown"
            ? value
            : undefined;
      value = item ?? { kind: "unknown", source: this.#source(from, this.#next) };
    }
    this.#nesting = Math.max(0, this.#nesting - 1);
    return value;
  }

  #primary(): Value {
    const token = this.#peek();
    const from = this.#next;
    if (this.#isMark("[")) {
      const type = this.#typeName();
      if (this.#isMark("::")) {
        this.#take();
        const method = this.#text(this.#take());
        if (method.toLowerCase() === "new" && this.#isMark("(") && isConditionType(type))
          return { kind: "condition", values: this.#items(")") };
        if (this.#isMark("(")) this.#items(")");
        return { kind: "unknown", source: this.#source(from, this.#next) };
      }
      return this.#value();
    }
    if (this.#isMark("@(")) return { kind: "list", items: this.#items(")") };
    if (this.#isMark("(")) {
      const items = this.#items(")");
      // ('a', 'b') and (New-Object …) are values; ($a + 1) would have to be worked out.
      const isList = this.#tokens.slice(from, this.#next).filter(isComma).length >= items.length - 1;
      if (!isList) return { kind: "unknown", source: this.#source(from, this.#next) };
      return items.length === 1 ? items[0]! : { kind: "list", items };
    }
    if (this.#isMark("@{")) return this.#table();
    this.#take();
    switch (token.kind) {
      case "text":
        return this.#joined(token.parts);
      case "variable":
        return this.#variable(token.name);
      case "word":
        return { kind: "text", text: token.text };
      case "parameter":
        return { kind: "text", text: `-${token.name}` };
      default:
        return { kind: "unknown", source: this.#source(from, this.#next) };
    }
  }

  /** What stands between brackets, up to the closing one. */
  #items(close: string): readonly Value[] {
    const opened = this.#take().place;
    const items: Value[] = [];
    for (;;) {
      const token = this.#peek();
      if (token.kind === "end") throw unclosed(opened);
      if (this.#isMark(close)) {
        this.#take();
        return items;
      }
      if (token.kind === "separator" || this.#isMark(",") || this.#isMark("|")) this.#take();
      else if (token.kind === "word" && /^[A-Za-z]+-[A-Za-z]+$/.test(token.text))
        items.push(this.#nested(close));
      else items.push(this.#value());
    }
  }

  /** A command in brackets, such as `(New-Object …)`: its tokens end where the bracket closes. */
  #nested(close: string): Value {
    const token = this.#take();
    const from = this.#next - 1;
    const parameters = new Map<string, Argument>();
    while (this.#peek().kind !== "end" && !this.#isMark(close) && this.#peek().kind !== "separator")
      if (this.#isMark("|") || this.#isMark(",") || this.#isMark("{") || this.#isMark("}")) this.#take();
      else this.#argument(parameters);
    return this.#run({ name: this.#text(token), place: token.place, parameters }, undefined, from);
  }

  #table(): Value {
    const opened = this.#take().place;
    const entries = new Map<string, Argument>();
    while (!this.#isMark("}")) {
      const token = this.#peek();
      if (token.kind === "end") throw unclosed(opened);
      this.#take();
      if (token.kind === "separator") continue;
      const key = token.kind === "text" ? token.parts.join("") : this.#text(token);
      if (!this.#isMark("=")) continue;
      this.#take();
      const { place } = this.#peek();
      entries.set(key.toLowerCase(), { value: this.#listOrValue(), place });
    }
    this.#take();
    return { kind: "table", entries };
  }

  #variable(name: string): Value {
    const plain = name.toLowerCase().replace(/^(script|global|local|private):/, "");
    if (plain === "true" || plain === "false") return { kind: "boolean", value: plain === "true" };
    const value = this.#variables.get(plain);
    return value === undefined || value.kind === "unknown" ? { kind: "unknown", source: `$${name}` } : value;
  }

  #joined(parts: readonly TextPart[]): Value {
    let text = "";
    for (const part of parts) {
      if (typeof part === "string") text += part;
      else {
        const value = "variable" in part ? this.#variable(part.variable) : undefined;
        if (value?.kind !== "text")
          return { kind: "unknown", source: "variable" in part ? `$${part.variable}` : part.code };
        text += value.text;
      }
    }
    return { kind: "text", text };
  }

  // ---- commands ----------------------------------------------------------------------------------------------

  #run(command: Command, input: Value | undefined, from: number): Value {
    const result = this.#result(command, input) ?? {
      kind: "unknown" as const,
      source: this.#source(from, this.#next),
    };
    const outVariable = command.parameters.get("outvariable")?.value;
    if (outVariable?.kind === "text")
      this.#variables.set(outVariable.text.replace(/^\+/, "").toLowerCase(), {
        kind: "list",
        items: [result],
      });
    return result;
  }

  #result(command: Command, input: Value | undefined): Value | undefined {
    switch (command.name.split("\\").at(-1)!.toLowerCase()) {
      case "new-adsyncrule":
        return this.#newRule(command);
      case "new-object":
        return newObject(command);
      case "add-adsyncattributeflowmapping":
        return this.#onRule(command, input, (draft) => draft.flows.push(command));
      case "add-adsyncscopeconditiongroup":
        return this.#onRule(command, input, (draft) => draft.scope.push(command));
      case "add-adsyncjoinconditiongroup":
        return this.#onRule(command, input, (draft) => draft.join.push(command));
      case "add-adsyncrule":
        return this.#onRule(command, input, (draft) => {
          draft.added = true;
        });
      default:
        return undefined;
    }
  }

  #newRule(command: Command): Value {
    const inBlock = this.#blocks > 0;
    const rule: ScriptedDraft = { command, inBlock, flows: [], scope: [], join: [], added: false };
    this.#drafts.push(rule);
    return { kind: "rule", rule };
  }

  /** The rule that the command names; scripts that lose track of it mean the last one. */
  #onRule(
    command: Command,
    input: Value | undefined,
    change: (draft: ScriptedDraft) => void,
  ): Value | undefined {
    const named = command.parameters.get("synchronizationrule")?.value ?? input ?? nothing;
    const one = named.kind === "list" ? named.items[0] : named;
    const draft = one?.kind === "rule" ? one.rule : this.#drafts.at(-1);
    if (draft === undefined) return undefined;
    change(draft);
    return { kind: "rule", rule: draft };
  }

  // ---- tokens ------------------------------------------------------------------------------------------------

  #peek(ahead = 0): Token {
    return this.#tokens[Math.min(this.#next + ahead, this.#tokens.length - 1)]!;
  }

  #take(): Token {
    const token = this.#peek();
    if (token.kind !== "end") this.#next++;
    return token;
  }

  #isMark(text: string): boolean {
    const token = this.#peek();
    return token.kind === "mark" && token.text === text;
  }

  #atEnd(): boolean {
    const { kind } = this.#peek();
    return kind === "end" || kind === "separator" || this.#isMark("{") || this.#isMark("}");
  }

  /** Behind `[type]`; undefined when it is none. */
  #typeEnd(): number | undefined {
    let depth = 0;
    for (let at = this.#next; at < Math.min(this.#next + 50, this.#tokens.length); at++) {
      const token = this.#tokens[at]!;
      if (token.kind === "mark" && token.text === "[") depth++;
      else if (token.kind === "mark" && token.text === "]" && --depth === 0) return at + 1;
      else if (token.kind !== "word" && !(token.kind === "mark" && token.text === ".")) return undefined;
    }
    return undefined;
  }

  #isTypeCall(): boolean {
    const after = this.#tokens[this.#typeEnd() ?? this.#next];
    return after?.kind === "mark" && after.text === "::";
  }

  #typeName(): string {
    const end = this.#typeEnd() ?? this.#next + 1;
    const name = this.#source(this.#next, end);
    this.#next = end;
    return name;
  }

  /** Tokens as text again, for messages. */
  #source(from: number, to: number): string {
    const text = this.#tokens
      .slice(from, Math.min(to, from + 80))
      .map((token, index) => (index > 0 && token.spaced ? " " : "") + this.#text(token))
      .join("");
    return text.length > 80 ? `${text.slice(0, 80)}…` : text;
  }

  #text(token: Token): string {
    switch (token.kind) {
      case "mark":
      case "word":
        return token.text;
      case "parameter":
        return `-${token.name}`;
      case "variable":
        return `$${token.name}`;
      case "splat":
        return `@${token.name}`;
      case "text":
        return `'${token.parts.map((part) => (typeof part === "string" ? part : "…")).join("")}'`;
      default:
        return "";
    }
  }
}

function isComma(token: Token): boolean {
  return token.kind === "mark" && token.text === ",";
}

function unclosed(place: Place): TakeoverError {
  return new TakeoverError("The bracket is never closed.", place);
}

function isConditionType(name: string): boolean {
  return /\b(Scope|Join)Condition\b/i.test(name);
}

function newObject(command: Command): Value | undefined {
  const type = command.parameters.get("typename")?.value ?? command.parameters.get("0")?.value;
  if (type?.kind !== "text" || !isConditionType(type.text)) return undefined;
  const list = command.parameters.get("argumentlist")?.value;
  return { kind: "condition", values: list?.kind === "list" ? list.items : list === undefined ? [] : [list] };
}
