/**
 * How a function of the expression language is written down. The entry is the code, the documentation
 * (`docs/expressions.md`) and the test (its examples) at once.
 */
import type { DateTime, JsonValue, Reference, Value } from "../../values.ts";
import type { EvaluationContext } from "../evaluate.ts";
import { ExpressionError } from "../problems.ts";
import type { Datum, FlowValue, Type } from "../types.ts";
import * as types from "../types.ts";

/** What each word of a parameter's type hands to `evaluate`. */
interface Words {
  str: string;
  /** 64-bit. */
  num: bigint;
  /** A number that counts characters or values; beyond 2^53 only its being large matters. */
  int: number;
  bool: boolean;
  bin: Uint8Array;
  dt: DateTime;
  ref: Reference;
  /** Any one value. */
  any: Value;
  null: null;
  /** The whole list; one value is a list of one, NULL the empty list. */
  mvstr: readonly string[];
  mvref: readonly Reference[];
  mvany: readonly Value[];
  /** Whatever there is: NULL, one value, or the list. */
  var: Exclude<Datum, FlowValue>;
  compare: string;
  casing: string;
  encoding: string;
  domainPart: string;
  nameType: string;
}
type Word = keyof Words;

const typeOfWord: Readonly<Record<Word, Type>> = {
  str: types.text,
  num: types.number,
  int: types.int,
  bool: types.boolean,
  bin: types.binary,
  dt: types.dateTime,
  ref: types.reference,
  any: types.anyValue,
  null: types.nothing,
  mvstr: types.text,
  mvref: types.reference,
  mvany: types.anyValue,
  var: types.anyValue | types.nothing,
  compare: types.option,
  casing: types.option,
  encoding: types.option,
  domainPart: types.option,
  nameType: types.option,
};

/** The options are also accepted as text, as the documentation writes `DNComponentRev([dn], 1, "DC")`. */
const optionsOfWord: Readonly<Partial<Record<Word, readonly string[]>>> = {
  compare: ["vbBinaryCompare", "vbTextCompare"],
  casing: ["CaseSensitive", "CaseInsensitive"],
  encoding: ["Unicode", "ASCII", "UTF8"],
  domainPart: ["DC"],
  nameType: ["SimpleName", "EmailName", "UpnName", "DnsName", "DnsFromAlternativeName", "UrlName"],
};

type Taken<T extends string> = T extends `${infer Left}|${infer Right}`
  ? Taken<Left> | Taken<Right>
  : T extends Word
    ? Words[T]
    : never;
type Argument<P extends string> = P extends `${string}?: ${infer T}`
  ? Taken<T> | undefined
  : P extends `${string}: ${infer T}`
    ? Taken<T>
    : never;
type Arguments<P extends readonly string[]> = { [K in keyof P]: Argument<P[K]> };

export interface Parameter {
  readonly name: string;
  /** As written: `str|bin`. */
  readonly type: string;
  readonly accepts: Type;
  readonly optional: boolean;
  /** `list`: the whole list. `raw`: NULL, a value or the list. `one`: one value, and lists are mapped. */
  readonly takes: "one" | "list" | "raw";
  readonly options: readonly string[] | undefined;
}

/** What an example yields, in the JSON form of values. */
export type ExampleResult =
  | JsonValue
  | JsonValue[]
  | null
  | { readonly $error: string | null }
  | { readonly $flow: "IgnoreThisFlow" | "AuthoritativeNull" };
export interface ExampleInput {
  readonly attributes?: Readonly<Record<string, JsonValue | JsonValue[]>>;
  readonly importedAttributes?: Readonly<Record<string, JsonValue | JsonValue[]>>;
  readonly parameters?: Readonly<Record<string, string>>;
}
/** Expression, result, input. The clock stands at 2026-08-01 12:00 UTC and chance always says one half. */
export type Example = readonly [expression: string, result: ExampleResult, input?: ExampleInput];

/** Computed by the compiler, which must not evaluate all arguments, or binds a variable. */
export type Form = "IIF" | "Switch" | "Select" | "Where" | "With" | "Error" | "ImportedValue" | "ValueCount";

interface Documentation {
  /** As the documentation shows it: `num`, `mvstr`. */
  readonly gives: string;
  readonly does: string;
  readonly source: string;
  readonly examples: readonly Example[];
}

export interface FunctionDefinition extends Documentation {
  readonly kind: "function";
  readonly parameters: readonly Parameter[];
  readonly required: number;
  readonly typeOfResult: (args: readonly Type[]) => Type;
  /** What NULL as the first argument gives, where its type does not include null. */
  readonly ofNull: Datum | "fails";
  /** Needs the clock, chance or the object: the context is its first argument. */
  readonly needsContext: boolean;
  /** Whether a number is taken for text, as MIM does. */
  readonly numbersAsText: boolean;
  /** Why the checker should warn of these argument types, if it should. */
  readonly caution: ((args: readonly Type[]) => string | undefined) | undefined;
  /** Two arguments that must be of one type: any for equality, one with an order for order. */
  readonly alike: "equality" | "order" | undefined;
  readonly evaluate: (...args: readonly unknown[]) => Datum;
}

export interface FormDefinition extends Documentation {
  readonly kind: "form";
  readonly form: Form;
  /** As the documentation shows it. */
  readonly syntax: string;
}

export type Definition = FunctionDefinition | FormDefinition;
export type FunctionTable = Readonly<Record<string, Definition>>;

interface Given<P extends readonly string[]> extends Documentation {
  /** `name: type`, `name?: type` when it may be left out; a type is words joined by `|`. */
  readonly takes: P;
  readonly ofNull?: Datum | "fails";
  /** Where the result's type depends on the arguments'. Otherwise `gives` says it. */
  readonly typeOfResult?: (args: readonly Type[]) => Type;
  readonly caution?: (args: readonly Type[]) => string | undefined;
  readonly alike?: "equality" | "order";
}

export function define<const P extends readonly string[]>(
  entry: Given<P> & { readonly evaluate: (...args: Arguments<P>) => Datum },
): FunctionDefinition {
  return defined(entry, false, entry.evaluate as FunctionDefinition["evaluate"]);
}

/** A function that needs the clock, chance or the object: its first argument is the context. */
export function defineWithContext<const P extends readonly string[]>(
  entry: Given<P> & { readonly evaluate: (context: EvaluationContext, ...args: Arguments<P>) => Datum },
): FunctionDefinition {
  return defined(entry, true, entry.evaluate as FunctionDefinition["evaluate"]);
}

export function defineForm(form: Form, entry: Documentation & { readonly syntax: string }): FormDefinition {
  return { kind: "form", form, ...entry };
}

/**
 * The same function under another dialect's name, with that dialect's documentation and examples. Its errors name it
 * as it is called there.
 */
export function renamed(
  [from, original]: readonly [string, FunctionDefinition],
  to: string,
  entry: Pick<Documentation, "source" | "examples"> & Partial<Pick<FunctionDefinition, "does" | "evaluate">>,
): FunctionDefinition {
  const evaluate = (...args: readonly unknown[]) => {
    try {
      return original.evaluate(...args);
    } catch (error) {
      if (error instanceof ExpressionError && error.message.startsWith(`${from}: `))
        error.message = `${to}${error.message.slice(from.length)}`;
      throw error;
    }
  };
  return { ...original, numbersAsText: true, ...(from !== to && { evaluate }), ...entry };
}

function defined(
  entry: Given<readonly string[]>,
  needsContext: boolean,
  evaluate: FunctionDefinition["evaluate"],
): FunctionDefinition {
  const parameters = entry.takes.map(parseParameter);
  const fixed = typeOfGives(entry.gives);
  return {
    kind: "function",
    parameters,
    required: parameters.filter((parameter) => !parameter.optional).length,
    gives: entry.gives,
    typeOfResult: entry.typeOfResult ?? (() => fixed),
    ofNull: entry.ofNull ?? null,
    needsContext,
    numbersAsText: false,
    caution: entry.caution,
    alike: entry.alike,
    does: entry.does,
    source: entry.source,
    examples: entry.examples,
    evaluate,
  };
}

function parseParameter(written: string): Parameter {
  const [head, type] = written.split(": ") as [string, string];
  const words = type.split("|") as Word[];
  const accepts = words.reduce((all, word) => all | typeOfWord[word], 0);
  return {
    name: head.replace("?", ""),
    type,
    accepts,
    optional: head.endsWith("?"),
    takes: words.includes("var") ? "raw" : words.some((word) => word.startsWith("mv")) ? "list" : "one",
    options: words.map((word) => optionsOfWord[word]).find((options) => options !== undefined),
  };
}

function typeOfGives(gives: string): Type {
  return gives.split("|").reduce((all, word) => {
    if (word.startsWith("mv")) return all | types.many | typeOfWord[word as Word];
    return all | (word === "int" ? types.number : (typeOfWord[word as Word] ?? 0));
  }, 0);
}

export function entraReference(anchor: string): string {
  return `https://learn.microsoft.com/entra/identity/hybrid/connect/reference-connect-sync-functions-reference#${anchor}`;
}

export function mimReference(anchor: string): string {
  return `https://learn.microsoft.com/microsoft-identity-manager/reference/mim2016-functions-reference#${anchor}`;
}

/** Used by out-of-box rules, but not in the reference. */
export const outOfBoxRules = "out-of-box rules of Entra Connect; not in the functions reference";
