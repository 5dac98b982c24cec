/**
 * The tokens of a PowerShell script, as far as the scripts go that make synchronisation rules. Nothing is executed.
 * https://learn.microsoft.com/powershell/module/microsoft.powershell.core/about/about_parsing
 */
import { type Place, TakeoverError } from "./findings.ts";

export type Token = {
  /** Whether white space stands before it: `$a[0]` is one value, `$a [0]` two. */
  readonly spaced: boolean;
  readonly place: Place;
} & (
  | { readonly kind: "end" | "separator" }
  /** `, ; | ( ) { } [ ] = . ::`, and `@(` and `@{` */
  | { readonly kind: "mark"; readonly text: string }
  | { readonly kind: "parameter"; readonly name: string }
  | { readonly kind: "variable" | "splat"; readonly name: string }
  | { readonly kind: "word"; readonly text: string }
  | { readonly kind: "text"; readonly parts: readonly TextPart[] }
);
/** A piece of a string: itself, or what only an evaluation would tell. */
export type TextPart = string | { readonly variable: string } | { readonly code: string };

export interface Tokens {
  readonly tokens: readonly Token[];
  /** Quotes inside strings that are not doubled; ConfigDocumenter writes them so. */
  readonly undoubledQuotes: readonly Place[];
}

export const scriptLengthMax = 16 * 1024 * 1024;

const markPattern = /::|@\(|@\{|[,;|(){}[\]=.]/y;
const parameterPattern = /-([A-Za-z][A-Za-z0-9_]*)/y;
const variablePattern = /\$(?:\{([^}\n]{1,200})\}|((?:[A-Za-z]+:)?[A-Za-z_][A-Za-z0-9_]*|_|\?))/y;
const splatPattern = /@([A-Za-z_][A-Za-z0-9_]*)/y;
const wordPattern = /[^\s,;|(){}[\]='"`$]+/y;
/** What can stand behind the end of a string; anything else means that the quote belongs to the string. */
const afterString = /[\s,;|(){}[\].`]/;

/** @throws TakeoverError for a string or comment without an end */
export function tokenize(file: string, source: string): Tokens {
  const script = source.replace(/^\uFEFF/, "").replaceAll("\r\n", "\n");
  const tokens: Token[] = [];
  const undoubledQuotes: Place[] = [];
  let at = 0;
  let line = 1;
  let lineStart = 0;
  let spaced = true;

  const place = (): Place => ({ file, line, column: at - lineStart + 1 });
  const fail = (message: string, where: Place): never => {
    throw new TakeoverError(message, where);
  };
  const advance = (count: number) => {
    for (const end = at + count; at < end; at++)
      if (script[at] === "\n") {
        line++;
        lineStart = at + 1;
      }
  };
  const match = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at;
    return pattern.exec(script);
  };
  const push = (token: PlainToken, length: number) => {
    tokens.push({ ...token, spaced, place: place() } as Token);
    spaced = false;
    advance(length);
  };

  if (script.length > scriptLengthMax)
    fail(`The script is longer than ${scriptLengthMax} characters.`, place());
  while (at < script.length) {
    const start = place();
    const rest = script.slice(at, at + 2);
    const continuation = match(/`[ \t]*\n/y);
    if (continuation !== null) {
      advance(continuation[0].length);
      spaced = true;
    } else if (script[at] === "\n") push({ kind: "separator" }, 1);
    else if (/\s/.test(script[at]!)) {
      advance(1);
      spaced = true;
    } else if (rest === "<#") {
      const end = script.indexOf("#>", at);
      if (end < 0) fail("The comment <# has no end #>.", start);
      advance(end + 2 - at);
      spaced = true;
    } else if (script[at] === "#" && (spaced || tokens.at(-1)?.kind !== "word")) {
      const end = script.indexOf("\n", at);
      advance((end < 0 ? script.length : end) - at);
    } else if (match(/@['"][ \t]*\n/y) !== null) {
      const [opening] = match(/@['"][ \t]*\n/y)!;
      const close = `\n${opening[1]}@`;
      const from = at + opening.length;
      const end = script.indexOf(close, from - 1);
      if (end < 0) fail(`The here-string has no end ${close.trim()}.`, start);
      const body = script.slice(from, Math.max(from, end));
      push(
        { kind: "text", parts: opening[1] === "'" ? [body] : expandable(body, true) },
        end + close.length - at,
      );
    } else if (script[at] === "'") {
      const { text, length } = singleQuoted(start);
      push({ kind: "text", parts: [text] }, length);
    } else if (script[at] === '"') {
      const length = doubleQuotedLength(start);
      push({ kind: "text", parts: expandable(script.slice(at + 1, at + length - 1), false) }, length);
    } else pushPlain();
  }
  tokens.push({ kind: "end", spaced: true, place: place() });
  return { tokens, undoubledQuotes };

  function pushPlain(): void {
    const variable = match(variablePattern);
    const parameter = spaced ? match(parameterPattern) : null;
    const splat = match(splatPattern);
    const mark = match(markPattern);
    if (variable !== null) push({ kind: "variable", name: variable[1] ?? variable[2]! }, variable[0].length);
    else if (parameter !== null) {
      push({ kind: "parameter", name: parameter[1]!.toLowerCase() }, parameter[0].length);
      // `-Disabled:$true` binds like `-Disabled $true`.
      if (script[at] === ":") advance(1);
    } else if (splat !== null) push({ kind: "splat", name: splat[1]! }, splat[0].length);
    else if (mark?.[0] === ";") push({ kind: "separator" }, 1);
    else if (mark !== null) push({ kind: "mark", text: mark[0] }, mark[0].length);
    else {
      const word = match(wordPattern)?.[0] ?? script[at]!;
      push({ kind: "word", text: word }, word.length);
    }
  }

  function singleQuoted(start: Place): { text: string; length: number } {
    let text = "";
    for (let to = at + 1; to < script.length; to++) {
      if (script[to] !== "'") {
        text += script[to];
        continue;
      }
      const next = script[to + 1];
      if (next === "'") to++;
      else if (next === undefined || afterString.test(next)) return { text, length: to + 1 - at };
      else if (undoubledQuotes.at(-1)?.line !== start.line) undoubledQuotes.push(start);
      text += "'";
    }
    return fail("The string has no closing quote.", start);
  }

  function doubleQuotedLength(start: Place): number {
    for (let to = at + 1; to < script.length; to++) {
      if (script[to] === "`") to++;
      else if (script[to] === '"' && script[to + 1] === '"') to++;
      else if (script[to] === '"') return to + 1 - at;
    }
    return fail("The string has no closing quote.", start);
  }
}

type PlainToken =
  | { kind: "separator" }
  | { kind: "mark" | "word"; text: string }
  | { kind: "parameter" | "variable" | "splat"; name: string }
  | { kind: "text"; parts: readonly TextPart[] };

const escapes: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t", "0": "\0" };

/** The pieces of a string in double quotes. */
function expandable(body: string, isHereString: boolean): readonly TextPart[] {
  const parts: TextPart[] = [];
  let text = "";
  const keep = (part: Exclude<TextPart, string>) => {
    if (text !== "") parts.push(text);
    text = "";
    parts.push(part);
  };
  for (let at = 0; at < body.length; at++) {
    const character = body[at]!;
    if (character === "`" && at + 1 < body.length) {
      const next = body[++at]!;
      text += escapes[next] ?? next;
    } else if (!isHereString && character === '"') {
      text += '"';
      at++;
    } else if (body.startsWith("$(", at)) {
      const end = closingParenthesis(body, at + 1);
      keep({ code: body.slice(at, end + 1) });
      at = end;
    } else {
      variablePattern.lastIndex = at;
      const variable = character === "$" ? variablePattern.exec(body) : null;
      if (variable === null) text += character;
      else {
        keep({ variable: variable[1] ?? variable[2]! });
        at += variable[0].length - 1;
      }
    }
  }
  if (text !== "" || parts.length === 0) parts.push(text);
  return parts;
}

function closingParenthesis(text: string, open: number): number {
  let depth = 0;
  for (let at = open; at < text.length; at++) {
    if (text[at] === "(") depth++;
    else if (text[at] === ")" && --depth === 0) return at;
  }
  return text.length - 1;
}
