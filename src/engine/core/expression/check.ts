/**
 * Finds what is wrong with an expression before anything runs. Its promise: an expression without errors never fails
 * with `type-mismatch` on values of the declared types. Attributes without a declared type are not judged.
 *
 * NULL is not tracked, since every attribute may be absent; what NULL means to a function is part of its semantics.
 */
import type { AttributeType } from "../values.ts";
import { acceptedTypes, applyFunction, type Frame } from "./evaluate.ts";
import type { Definition, FormDefinition, FunctionDefinition } from "./functions/define.ts";
import { functionNamed, suggestFunction } from "./functions/functions.ts";
import { print, printString } from "./print.ts";
import { closest, ExpressionError, type ProblemCode, type ProblemList } from "./problems.ts";
import {
  type BinaryOperation,
  bindingPower,
  type Call,
  type Expression,
  type Language,
  type Operator,
  type Span,
} from "./syntax.ts";
import type { Datum, Type } from "./types.ts";
import * as types from "./types.ts";

export interface ExpressionSchema {
  /** Undefined: attributes are not checked. */
  readonly attributes?: ReadonlyMap<string, { readonly type: AttributeType; readonly multiValued: boolean }>;
  /** Undefined: parameters are not checked. */
  readonly parameters?: ReadonlySet<string>;
}

/** The attribute that the result flows to. */
export interface FlowTarget {
  readonly name: string;
  readonly type: AttributeType;
  readonly multiValued: boolean;
  readonly readOnly?: boolean;
}

interface Scope {
  readonly variables: ReadonlyMap<string, Type>;
  /** Attributes of which a condition has said more than the schema. */
  readonly narrowed: ReadonlyMap<string, Type>;
}

const marks = types.many | types.unknown | types.nothing;

export function check(
  expression: Expression,
  language: Language,
  problems: ProblemList,
  schema: ExpressionSchema = {},
  target?: FlowTarget,
): Type {
  const checker = new Checker(language, problems, schema);
  const type = checker.typeOf(expression, { variables: new Map(), narrowed: new Map() });
  if ((type & types.option) !== 0) {
    problems.error("type-mismatch", expression.span, "An option is not a value that could flow.");
  }
  if (target !== undefined) checkTarget(expression, type, target, problems);
  return type;
}

function checkTarget(expression: Expression, type: Type, target: FlowTarget, problems: ProblemList): void {
  const { span } = expression;
  if (target.readOnly === true) {
    problems.error("target-read-only", span, `${target.name} cannot be written.`);
  }
  if (!target.multiValued && (type & types.many) !== 0) {
    problems.error(
      "target-single-valued",
      span,
      `${target.name} holds one value; the expression may give several.`,
      "Choose one with Item or ItemOrNull, or join them with Join.",
    );
  }
  // Text is taken for a reference: the out-of-box rules build DNs with &.
  const accepted = types.typeOfAttribute[target.type] | (target.type === "reference" ? types.text : 0);
  const given = type & ~(marks | types.flow | types.option);
  if ((given & ~accepted) !== 0) {
    problems.error(
      "target-type",
      span,
      `${target.name} takes ${types.describeType(accepted)}; the expression may give ${types.describeType(given & ~accepted)}.`,
      conversionTo(accepted, given & ~accepted, print(expression)),
    );
  }
}

class Checker {
  readonly #language: Language;
  readonly #problems: ProblemList;
  readonly #schema: ExpressionSchema;

  constructor(language: Language, problems: ProblemList, schema: ExpressionSchema) {
    this.#language = language;
    this.#problems = problems;
    this.#schema = schema;
  }

  typeOf(node: Expression, scope: Scope): Type {
    switch (node.kind) {
      case "literal":
        return types.kindOf(node.value);
      case "constant":
        if (node.name === "NULL") return types.nothing;
        if (node.name === "CRLF") return types.text;
        return node.name === "IgnoreThisFlow" || node.name === "AuthoritativeNull"
          ? types.flow
          : types.option;
      case "attribute":
        return scope.narrowed.get(node.name) ?? this.#attribute(node.name, node.span);
      case "parameter":
        return this.#parameter(node.name, node.span);
      case "variable": {
        const type = scope.variables.get(node.name);
        if (type !== undefined) return type;
        this.#suggestVariable(node.name, node.span, scope);
        return types.unknown;
      }
      case "negation": {
        const type = this.typeOf(node.operand, scope);
        this.#expect(node.operand, type, types.number, "- takes");
        return types.number | (type & types.many);
      }
      case "binary":
        this.#lintMixedOperators(node);
        return this.#binary(node, scope);
      case "call":
        return this.#call(node, scope);
    }
  }

  // ---- names -----------------------------------------------------------------------------------------------------

  #attribute(name: string, span: Span): Type {
    const { attributes } = this.#schema;
    if (attributes === undefined) return types.unknown;
    const declared = attributes.get(name);
    if (declared !== undefined) {
      return types.typeOfAttribute[declared.type] | (declared.multiValued ? types.many : 0);
    }
    this.#unknown(
      "unknown-attribute",
      `There is no attribute ${name} here.`,
      name,
      span,
      attributes.keys(),
      (other) => (this.#language === "mim" ? other : `[${other}]`),
    );
    return types.unknown;
  }

  /** A parameter that the schema lists is text, as those of the connector are. */
  #parameter(name: string, span: Span): Type {
    const { parameters } = this.#schema;
    if (parameters === undefined) return types.unknown;
    if (parameters.has(name)) return types.text;
    const message = `There is no parameter ${name}.`;
    this.#unknown("unknown-parameter", message, name, span, parameters, (other) => `%${other}%`);
    return types.unknown;
  }

  #suggestVariable(name: string, span: Span, scope: Scope): void {
    const message = `$${name} is not bound by an enclosing Select, Where or With.`;
    this.#unknown("unknown-variable", message, name, span, scope.variables.keys(), (other) => `$${other}`);
  }

  #unknown(
    code: ProblemCode,
    message: string,
    name: string,
    span: Span,
    known: Iterable<string>,
    written: (name: string) => string,
  ): void {
    const names = [...known];
    const respelled = names.find((candidate) => candidate.toLowerCase() === name.toLowerCase());
    if (respelled !== undefined) {
      this.#problems.error("wrong-case", span, `The name is spelled ${respelled}.`, written(respelled));
      return;
    }
    const similar = closest(name, names);
    this.#problems.error(code, span, message, similar === undefined ? undefined : written(similar));
  }

  // ---- operators -------------------------------------------------------------------------------------------------

  #binary(node: BinaryOperation, scope: Scope): Type {
    const left = this.typeOf(node.left, scope);
    const right = this.typeOf(node.right, scope);
    const many = (left | right) & types.many;
    const { operator } = node;
    switch (operator) {
      case "&":
        return many | this.#concatenation(node, left, right);
      case "&&":
      case "||":
        this.#expect(node.left, left, types.boolean, `${operator} takes`);
        this.#expect(node.right, right, types.boolean, `${operator} takes`);
        return many | types.boolean;
      case "+":
      case "-":
      case "*":
      case "/": {
        const advice = operator === "+" && ((left | right) & types.text) !== 0 ? "&" : undefined;
        this.#expect(node.left, left, types.number, `${operator} takes`, advice);
        this.#expect(node.right, right, types.number, `${operator} takes`, advice);
        return many | types.number;
      }
      default:
        this.#comparison(
          node.span,
          operator,
          operator !== "=" && operator !== "<>",
          [node.left, left],
          [node.right, right],
        );
        return many | types.boolean;
    }
  }

  #concatenation(node: BinaryOperation, left: Type, right: Type): Type {
    const accepted = types.text | types.number | types.boolean | types.reference | types.binary;
    const leftFits = this.#expect(node.left, left, accepted, "& takes");
    const rightFits = this.#expect(node.right, right, accepted, "& takes");
    const all = (left | right) & ~marks;
    if (leftFits && rightFits && (all & types.binary) !== 0 && (all & ~types.binary) !== 0) {
      this.#problems.error(
        "type-mismatch",
        node.span,
        "& joins text with text, or binary with binary, not the two.",
      );
    }
    if (this.#language === "aadc") {
      for (const [operand, type] of [
        [node.left, left],
        [node.right, right],
      ] as const) {
        const converted = type & (types.number | types.boolean);
        if (converted === 0 || !leftFits || !rightFits) continue;
        const message = `& turns ${types.describeType(converted)} into text.`;
        this.#problems.warning("implicit-conversion", operand.span, message, `CStr(${print(operand)})`);
      }
    }
    if (((left | right) & types.unknown) === 0) return (all & types.binary) !== 0 ? types.binary : types.text;
    // Text beside something unknown makes text, or fails.
    if ((all & types.binary) !== 0) return types.binary;
    return (all & (types.text | types.number | types.boolean | types.reference)) !== 0
      ? types.text
      : types.unknown;
  }

  /** Whether two values can be compared; a problem is reported when not. */
  #comparison(
    span: Span,
    who: string,
    ordered: boolean,
    left: readonly [Expression, Type],
    right: readonly [Expression, Type],
  ): boolean {
    const accepted = ordered ? types.text | types.number | types.dateTime : types.anyValue;
    const leftFits = this.#expect(...left, accepted, `${who} compares`);
    const rightFits = this.#expect(...right, accepted, `${who} compares`);
    if (!leftFits || !rightFits) return false;
    const leftKinds = left[1] & types.anyValue;
    const rightKinds = right[1] & types.anyValue;
    if (leftKinds === 0 || rightKinds === 0) return true; // NULL, or unknown: compared when it runs
    let kinds = leftKinds | rightKinds;
    // A DN in quotes is compared with a reference as a DN.
    if (!ordered && (kinds & types.reference) !== 0) kinds &= ~types.text;
    if ((kinds & (kinds - 1)) === 0) return true;
    const [converted, from, to] =
      right[0].kind === "literal" ? [left[0], leftKinds, rightKinds] : [right[0], rightKinds, leftKinds];
    this.#problems.error(
      "type-mismatch",
      span,
      `${who} cannot stand between ${types.describeType(leftKinds)} and ${types.describeType(rightKinds)}.`,
      this.#conversion(to, from, converted),
    );
    return false;
  }

  /** Whether a mix reads the same under every habit: only + and - do. */
  #lintMixedOperators(node: BinaryOperation): void {
    const tier = bindingPower(node.operator);
    const operators = new Set<Operator>([node.operator]);
    let chained = false;
    let at: Expression = node.left;
    while (at.kind === "binary" && !at.parenthesized && bindingPower(at.operator) === tier) {
      operators.add(at.operator);
      chained = true;
      at = at.left;
    }
    if (this.#linted.has(node)) return;
    for (let inner: Expression = node.left; inner !== at && inner.kind === "binary"; inner = inner.left) {
      this.#linted.add(inner);
    }
    const harmless =
      operators.size === 1 || [...operators].every((operator) => operator === "+" || operator === "-");
    if (!chained || (harmless && tier !== 2)) return;
    this.#problems.warning(
      "mixed-operators",
      node.span,
      `${[...operators].reverse().join(" and ")} have equal priority and are read from left to right.`,
      print(node, this.#language),
    );
  }
  readonly #linted = new WeakSet<Expression>();

  // ---- calls -----------------------------------------------------------------------------------------------------

  #call(node: Call, scope: Scope): Type {
    const definition = functionNamed(node.name, this.#language);
    if (definition === undefined) {
      this.#unknownFunction(node);
      for (const argument of node.arguments) this.typeOf(argument, scope);
      return types.unknown;
    }
    if (!this.#arity(node, definition)) {
      return types.unknown;
    }
    return definition.kind === "form"
      ? this.#form(node, definition, scope)
      : this.#function(node, definition, scope);
  }

  #unknownFunction(node: Call): void {
    const suggestion = suggestFunction(node.name, this.#language);
    switch (suggestion?.because) {
      case "case":
        this.#problems.error(
          "wrong-case",
          node.nameSpan,
          `The function is spelled ${suggestion.name}.`,
          suggestion.name,
        );
        return;
      case "dialect":
        this.#problems.error(
          "unknown-function",
          node.nameSpan,
          `${node.name} belongs to another dialect; here it is ${suggestion.name}.`,
          suggestion.name,
        );
        return;
      default:
        this.#problems.error(
          "unknown-function",
          node.nameSpan,
          `There is no function ${node.name}.`,
          suggestion?.name,
        );
    }
  }

  #arity(node: Call, definition: Definition): boolean {
    const count = node.arguments.length;
    const [least, most] =
      definition.kind === "function"
        ? [definition.required, definition.parameters.length]
        : formArity[definition.form];
    const paired = definition.kind !== "form" || definition.form !== "Switch" || count % 2 === 0;
    if (count >= least && count <= most && paired) return true;
    this.#problems.error(
      "wrong-argument-count",
      node.span,
      definition.kind === "form" && definition.form === "Switch"
        ? "Switch takes pairs of a condition and a value."
        : `${node.name} takes ${least === most ? least : `${least} to ${most}`} argument${most === 1 ? "" : "s"}, not ${count}.`,
      signatureOf(node.name, definition),
    );
    return false;
  }

  #function(node: Call, definition: FunctionDefinition, scope: Scope): Type {
    const given = node.arguments.map((argument) => this.typeOf(argument, scope));
    let lifted = 0;
    let fits = true;
    for (const [i, type] of given.entries()) {
      const parameter = definition.parameters[i]!;
      const argument = node.arguments[i]!;
      if (parameter.options !== undefined) {
        fits = this.#option(argument, type, parameter.name, parameter.options) && fits;
        lifted |= type & types.many;
        continue;
      }
      const accepted = acceptedTypes(definition, parameter);
      fits = this.#expect(argument, type, accepted, `${node.name}: ${parameter.name} takes`) && fits;
      if (parameter.takes === "one") lifted |= type & types.many;
    }
    if (!fits) return definition.typeOfResult(given) | lifted;
    if (definition.alike !== undefined) {
      const [left, right] = node.arguments.map((argument, i) => [argument, given[i]!] as const);
      const ordered = definition.alike === "order";
      if (!this.#comparison(node.span, node.name, ordered, left!, right!)) return types.boolean | lifted;
    }
    const caution = definition.caution?.(given);
    if (caution !== undefined) this.#problems.warning("culture-format", node.span, caution);
    this.#tryLiterals(node, definition);
    return definition.typeOfResult(given) | lifted;
  }

  #option(argument: Expression, type: Type, parameter: string, options: readonly string[]): boolean {
    const written =
      argument.kind === "constant" && (type & types.option) !== 0
        ? argument.name
        : argument.kind === "literal" && typeof argument.value === "string"
          ? argument.value
          : undefined;
    if (written === undefined) return this.#expect(argument, type, types.text, `${parameter} takes`);
    if (options.includes(written)) return true;
    const suggestion = closest(written, options);
    this.#problems.error(
      "wrong-option",
      argument.span,
      `${parameter} is one of ${options.join(", ")}.`,
      suggestion,
    );
    return false;
  }

  /** With literals only, the function can as well be asked now. */
  #tryLiterals(node: Call, definition: FunctionDefinition): void {
    if (definition.needsContext || !node.arguments.every(isKnown)) return;
    const args = node.arguments.map(knownValue);
    const context = {
      attribute: () => undefined,
      now: { kind: "dateTime", ticks: 0n } as const,
      random: () => 0,
    };
    const frame: Frame = { context, variables: [], at: node.span, steps: 0 };
    try {
      applyFunction(frame, node.name, definition, args);
    } catch (error) {
      if (!(error instanceof ExpressionError)) throw error;
      this.#problems.warning("always-fails", node.span, error.message);
    }
  }

  #form(node: Call, { form }: FormDefinition, scope: Scope): Type {
    const args = node.arguments;
    switch (form) {
      case "IIF":
        return this.#choice(node, [[args[0]!, args[1]!]], args[2], scope);
      case "Switch": {
        const pairs: [Expression, Expression][] = [];
        for (let i = 0; i + 1 < args.length; i += 2) pairs.push([args[i]!, args[i + 1]!]);
        return this.#choice(node, pairs, undefined, scope);
      }
      case "Error": {
        const type = this.typeOf(args[0]!, scope);
        this.#expectOne(args[0]!, type, types.text | types.reference | types.number, "Error takes");
        return 0;
      }
      case "ImportedValue":
      case "ValueCount": {
        const [name] = args;
        if (name?.kind !== "literal" || typeof name.value !== "string") {
          this.#problems.error(
            "literal-expected",
            name?.span ?? node.span,
            `${form} takes the attribute's name in quotes.`,
            name?.kind === "attribute" ? printString(name.name) : undefined,
          );
          return form === "ValueCount" ? types.number : types.unknown;
        }
        const type = this.#attribute(name.value, name.span);
        return form === "ValueCount" ? types.number : type;
      }
      default:
        return this.#binding(node, form, scope);
    }
  }

  #choice(
    node: Call,
    pairs: readonly (readonly [Expression, Expression])[],
    otherwise: Expression | undefined,
    scope: Scope,
  ): Type {
    let many = 0;
    let result = otherwise === undefined ? types.nothing : 0;
    const values: [Expression, Type][] = [];
    let remaining = scope;
    for (const [condition, value] of pairs) {
      const type = this.typeOf(condition, remaining);
      this.#expect(condition, type, types.boolean, `${node.name} asks for`);
      many |= type & types.many;
      const [whenTrue, whenFalse] = this.#narrow(condition, remaining);
      values.push([value, this.typeOf(value, whenTrue)]);
      remaining = whenFalse;
    }
    if (otherwise !== undefined) values.push([otherwise, this.typeOf(otherwise, remaining)]);
    for (const [value, type] of values) {
      result |= type;
      if (many === 0 || (type & types.flow) === 0) continue;
      this.#problems.error(
        "misplaced-flow-literal",
        value.span,
        "The condition is a list, so this would be one value of a list; only NULL can take a value out.",
        "NULL",
      );
    }
    return result | many;
  }

  /** `IsString([a])` tells text from binary: out-of-box rules convert accordingly in the two branches. */
  #narrow(condition: Expression, scope: Scope): [whenTrue: Scope, whenFalse: Scope] {
    const [argument] = condition.kind === "call" && condition.name === "IsString" ? condition.arguments : [];
    if (argument?.kind !== "attribute") return [scope, scope];
    const declared = this.#schema.attributes?.get(argument.name);
    const type =
      scope.narrowed.get(argument.name) ?? (declared && this.#attribute(argument.name, argument.span));
    if (type === undefined) return [scope, scope];
    const isText = types.anyValue & ~types.binary;
    const narrowedTo = (kinds: Type): Scope => {
      const kept = type & kinds;
      return {
        ...scope,
        narrowed: new Map(scope.narrowed).set(argument.name, kept === 0 ? 0 : kept | (type & marks)),
      };
    };
    return [narrowedTo(isText), narrowedTo(types.binary)];
  }

  #binding(node: Call, form: "Select" | "Where" | "With", scope: Scope): Type {
    const [variable, bound, body] = node.arguments as [Expression, Expression, Expression];
    const boundType = this.typeOf(bound, scope);
    if (variable.kind !== "variable") {
      this.#problems.error("variable-expected", variable.span, `${form} names its variable first.`, "$item");
      return types.unknown;
    }
    if (form !== "With") this.#expect(bound, boundType, types.anyValue, `${form} takes`);
    const variableType = form === "With" ? boundType : boundType & ~(types.many | types.nothing);
    const variables = new Map(scope.variables).set(variable.name, variableType);
    const bodyType = this.typeOf(body, { ...scope, variables });
    switch (form) {
      case "With":
        return bodyType;
      case "Where":
        this.#expectOne(body, bodyType, types.boolean, "Where asks for");
        return boundType | types.many;
      case "Select":
        this.#expectOne(body, bodyType, types.anyValue, "Select takes");
        return bodyType | types.many;
    }
  }

  // ---- expectations ----------------------------------------------------------------------------------------------

  #expectOne(node: Expression, type: Type, accepted: Type, who: string): void {
    if (this.#expect(node, type, accepted, who) && (type & types.many) !== 0) {
      this.#problems.error("type-mismatch", node.span, `${who} ${types.describeType(accepted)}, not a list.`);
    }
  }

  #expect(node: Expression, type: Type, accepted: Type, who: string, advice?: string): boolean {
    const wrong = type & ~(accepted | marks);
    if (wrong === 0) return true;
    if ((wrong & types.flow) !== 0) {
      this.#problems.error(
        "misplaced-flow-literal",
        node.span,
        "A flow literal is a result; it cannot be computed with.",
        "NULL",
      );
      return false;
    }
    this.#problems.error(
      "type-mismatch",
      node.span,
      `${who} ${types.describeType(accepted & ~types.nothing)}, not ${types.describeType(wrong)}.`,
      advice ?? this.#conversion(accepted, wrong, node),
    );
    return false;
  }

  /** The node, converted; MIM has no such functions. */
  #conversion(wanted: Type, given: Type, node: Expression): string | undefined {
    return this.#language === "aadc" ? conversionTo(wanted, given, print(node)) : undefined;
  }
}

/** The least and most arguments. */
const formArity: Readonly<Record<FormDefinition["form"], readonly [number, number]>> = {
  IIF: [3, 3],
  Switch: [2, Number.POSITIVE_INFINITY],
  Select: [3, 3],
  Where: [3, 3],
  With: [3, 3],
  Error: [1, 1],
  ImportedValue: [1, 1],
  ValueCount: [1, 1],
};

/** As the documentation shows it: `str Left(str text, num count)`. */
export function signatureOf(name: string, definition: Definition): string {
  if (definition.kind === "form") return `${definition.gives} ${definition.syntax}`;
  const parameters = definition.parameters.map((parameter) => {
    const type =
      parameter.options !== undefined ? "enum" : parameter.type.replace("|null", "").replace("int", "num");
    const written = `${type} ${parameter.name}`;
    return parameter.optional ? `[${written}]` : written;
  });
  return `${definition.gives} ${name}(${parameters.join(", ")})`;
}

function conversionTo(wanted: Type, given: Type, text: string): string | undefined {
  if (wanted === types.boolean)
    return (given & (types.number | types.text)) !== 0 ? `CBool(${text})` : undefined;
  if ((wanted & types.text) !== 0) {
    if ((given & types.dateTime) !== 0) return `FormatDateTime(${text}, "yyyy-MM-dd")`;
    if ((given & types.binary) !== 0) return `ConvertToBase64(${text})`;
    return `CStr(${text})`;
  }
  if ((wanted & (types.number | types.int)) !== 0)
    return (given & types.text) !== 0 ? `CNum(${text})` : undefined;
  if ((wanted & types.dateTime) !== 0) {
    if ((given & types.number) !== 0) return `DateFromNum(${text})`;
    return (given & types.text) !== 0 ? `CDate(${text})` : undefined;
  }
  return undefined;
}

function isKnown(node: Expression): boolean {
  return (
    node.kind === "literal" ||
    (node.kind === "constant" && node.name !== "IgnoreThisFlow" && node.name !== "AuthoritativeNull")
  );
}

function knownValue(node: Expression): Datum {
  if (node.kind === "literal") return node.value;
  if (node.kind !== "constant" || node.name === "NULL") return null;
  return node.name === "CRLF" ? "\r\n" : node.name;
}
