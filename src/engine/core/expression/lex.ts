/** Text → tokens. White space and `//` comments fall away; positions stay. */
import type { ProblemList } from "./problems.ts";
import { isOperator, type Language, type Operator, type Span } from "./syntax.ts";

export type Token = { readonly span: Span } & (
  | { readonly kind: "string"; readonly text: string }
  | { readonly kind: "number"; readonly value: bigint }
  | { readonly kind: "attribute"; readonly name: string }
  | { readonly kind: "parameter"; readonly name: string }
  | { readonly kind: "variable"; readonly name: string }
  | { readonly kind: "word"; readonly name: string }
  | { readonly kind: "operator"; readonly operator: Operator }
  | { readonly kind: "open" }
  | { readonly kind: "close" }
  | { readonly kind: "comma" }
  | { readonly kind: "end" }
);

const wordPattern = /[A-Za-z_][A-Za-z0-9_]*/y;
/** MIM writes attributes bare, so a word may hold a hyphen; subtraction does not exist there. */
const mimWordPattern = /[A-Za-z_][A-Za-z0-9_-]*/y;
const attributePattern = /[A-Za-z0-9_][A-Za-z0-9_.;:-]*/y;
/** MIM's workflows address attributes by a path: `[//Target/Manager]`. */
const mimAttributePattern = /[A-Za-z0-9_/][A-Za-z0-9_.;:/-]*/y;
const parameterPattern = /[A-Za-z_][A-Za-z0-9_.-]*/y;
const digitsPattern = /[0-9]+/y;
const hexPattern = /[0-9A-Fa-f]+/y;

function match(pattern: RegExp, source: string, at: number): string | undefined {
  pattern.lastIndex = at;
  return pattern.exec(source)?.[0];
}

/** The tokens, ended by `end`; undefined when a problem was reported. */
export function lex(source: string, language: Language, problems: ProblemList): Token[] | undefined {
  const tokens: Token[] = [];
  let at = 0;
  const fail = (
    code: Parameters<ProblemList["error"]>[0],
    end: number,
    message: string,
    suggestion?: string,
  ) => {
    problems.error(code, { start: at, end }, message, suggestion);
    return undefined;
  };
  /** Whether the last token ended an operand: then `&H…` is the operator, not a hexadecimal number. */
  const afterOperand = () => {
    const last = tokens.at(-1)?.kind;
    return last !== undefined && last !== "operator" && last !== "open" && last !== "comma";
  };

  while (at < source.length) {
    const character = source[at]!;
    if (character.trim() === "") {
      at++;
      continue;
    }
    if (character === "/" && source[at + 1] === "/") {
      const lineEnd = source.indexOf("\n", at);
      at = lineEnd < 0 ? source.length : lineEnd;
      continue;
    }
    const push = (token: Token) => {
      tokens.push(token);
      at = token.span.end;
    };
    switch (character) {
      case '"': {
        const string = readString(source, at);
        if (string === undefined) {
          return fail(
            "unterminated-string",
            source.length,
            source.lastIndexOf('\\"') > at
              ? 'The string has no closing quote; \\" is a quote inside it. A backslash at its end is written \\\\.'
              : "The string has no closing quote.",
          );
        }
        push({ kind: "string", text: string.text, span: { start: at, end: string.end } });
        continue;
      }
      case "[": {
        const name = match(language === "mim" ? mimAttributePattern : attributePattern, source, at + 1);
        const end = at + 1 + (name?.length ?? 0);
        if (name === undefined || source[end] !== "]") {
          return fail(
            "unexpected-character",
            end + 1,
            "An attribute is written [name], with letters, digits, - and _.",
          );
        }
        push({ kind: "attribute", name, span: { start: at, end: end + 1 } });
        continue;
      }
      case "%": {
        const name = match(parameterPattern, source, at + 1);
        const end = at + 1 + (name?.length ?? 0);
        if (name === undefined || source[end] !== "%") {
          return fail("unexpected-character", end + 1, "A parameter is written %Name%, as in %Domain.FQDN%.");
        }
        push({ kind: "parameter", name, span: { start: at, end: end + 1 } });
        continue;
      }
      case "$": {
        const name = match(wordPattern, source, at + 1);
        if (name === undefined) return fail("unexpected-character", at + 1, "A variable is written $name.");
        push({ kind: "variable", name, span: { start: at, end: at + 1 + name.length } });
        continue;
      }
      case "(":
        push({ kind: "open", span: { start: at, end: at + 1 } });
        continue;
      case ")":
        push({ kind: "close", span: { start: at, end: at + 1 } });
        continue;
      case ",":
        push({ kind: "comma", span: { start: at, end: at + 1 } });
        continue;
    }
    if (character === "&" && /[Hh]/.test(source[at + 1] ?? "") && !afterOperand()) {
      const digits = match(hexPattern, source, at + 2);
      const end = at + 2 + (digits?.length ?? 0);
      if (digits === undefined || digits.length > 16) {
        return fail("invalid-number", end, "A hexadecimal number is &H with 1 to 16 digits, as in &HFF.");
      }
      // Sixteen digits are the bits of a signed number, as in VBA.
      push({ kind: "number", value: BigInt.asIntN(64, BigInt(`0x${digits}`)), span: { start: at, end } });
      continue;
    }
    const operator = [source.slice(at, at + 2), character].find(isOperator);
    if (operator !== undefined) {
      push({ kind: "operator", operator, span: { start: at, end: at + operator.length } });
      continue;
    }
    const digits = match(digitsPattern, source, at);
    if (digits !== undefined) {
      const end = at + digits.length;
      if (digits.length > 19) return fail("invalid-number", end, "Numbers are 64-bit integers.");
      if (source[end] === "." && /[0-9]/.test(source[end + 1] ?? "")) {
        return fail("invalid-number", end + 2, "Numbers are 64-bit integers; fractions do not exist here.");
      }
      if (match(wordPattern, source, end) !== undefined) {
        return fail("invalid-number", end + 1, "A number is followed by a letter.");
      }
      push({ kind: "number", value: BigInt(digits), span: { start: at, end } });
      continue;
    }
    const word = match(language === "mim" ? mimWordPattern : wordPattern, source, at);
    if (word !== undefined) {
      push({ kind: "word", name: word, span: { start: at, end: at + word.length } });
      continue;
    }
    return fail("unexpected-character", at + 1, ...describeCharacter(character));
  }
  tokens.push({ kind: "end", span: { start: source.length, end: source.length } });
  return tokens;
}

function describeCharacter(character: string): [message: string, suggestion?: string] {
  if ("“”„«»".includes(character)) return ['Strings stand in straight quotes: "text".', '"'];
  if (character === "'") return ['Strings stand in double quotes: "text".', '"'];
  if (character === "!") return ["There is no operator for not; compare with False.", "= False"];
  if (character === "|") return ["The logical or is written ||.", "||"];
  return [`The character ${JSON.stringify(character)} means nothing here.`];
}

/**
 * `\\` is one backslash, `\"` and `""` a quote, any other backslash stands for itself: the out-of-box rules write
 * `"\\0ACNF:"`, and `\n` is left for Replace to understand.
 */
function readString(source: string, start: number): { text: string; end: number } | undefined {
  let text = "";
  let from = start + 1;
  for (let at = from; at < source.length; at++) {
    const character = source[at];
    if (character === "\\" && (source[at + 1] === "\\" || source[at + 1] === '"')) {
      text += source.slice(from, at);
      from = at + 1;
      at++;
    } else if (character === '"') {
      text += source.slice(from, at);
      if (source[at + 1] !== '"') return { text, end: at + 1 };
      from = at + 1;
      at++;
    }
  }
  return undefined;
}
