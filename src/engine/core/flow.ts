/** One flow of one rule, evaluated: what it offers its target attribute, in the type that the target has. */
import { asFlowValue, type EvaluationContext, ExpressionError } from "./expression/expression.ts";
import type { AttributeInfo, CompiledFlow } from "./rules.ts";
import {
  type AttributeType,
  type AttributeValue,
  isDateTime,
  isMultiValued,
  isReference,
  type Value,
} from "./values.ts";

/**
 * `null`: nothing, a rule of lower precedence may offer something; if none does, the attribute goes.
 * `authoritativeNull`: nothing, and no other rule may. `ignore`: as if the flow were not there.
 */
export type Offer = { readonly value: AttributeValue } | "null" | "authoritativeNull" | "ignore";

/** Ends the work on one object; `code` is one of SEMANTICS 2.11 or of an expression. Holds no attribute values. */
export class FlowError extends Error {
  readonly code: string;
  readonly rule: string;
  readonly attribute?: string;

  constructor(code: string, message: string, rule: string, attribute?: string) {
    super(message);
    this.name = "FlowError";
    this.code = code;
    this.rule = rule;
    if (attribute !== undefined) this.attribute = attribute;
  }
}

/** What a flow is evaluated with; `mapped` asks the connector's rules extension. */
export interface FlowContext extends EvaluationContext {
  mapped?(flow: { readonly rule: string; readonly target: string; readonly flowRuleName: string }): Offer;
}

/** @throws FlowError */
export function evaluateFlow(
  rule: string,
  flow: CompiledFlow,
  context: FlowContext,
  target: AttributeInfo | undefined,
): Offer {
  const offer = offerOf(rule, flow, context);
  if (typeof offer === "string" || target === undefined) return offer;
  if (!target.multiValued && !isMultiValued(offer.value) && typeOf(offer.value) === target.type) return offer;
  const converted = convert(offer.value, target);
  if ("value" in converted) return converted;
  throw new FlowError(
    converted.code,
    `The flow into "${flow.target}" of rule ${rule} ${converted.message}.`,
    rule,
    flow.target,
  );
}

function offerOf(rule: string, flow: CompiledFlow, context: FlowContext): Offer {
  if (flow.kind === "extension") {
    if (context.mapped === undefined)
      throw new TypeError(
        `Rule ${rule} flows by an extension that is not there. This is a bug in the engine.`,
      );
    return context.mapped({ ...flow, rule });
  }
  if (flow.kind === "constant") return { value: flow.value };
  if (flow.kind === "direct") {
    const value = asFlowValue(context.attribute(flow.source) ?? null);
    return value === null ? "null" : { value: value as AttributeValue };
  }
  try {
    const result = asFlowValue(flow.compiled.evaluate(context));
    if (result === null) return "null";
    if (isMarker(result)) return result.flow === "IgnoreThisFlow" ? "ignore" : "authoritativeNull";
    return { value: result };
  } catch (error) {
    if (!(error instanceof ExpressionError)) throw error;
    const message = `The expression for "${flow.target}" of rule ${rule} failed: ${error.message}`;
    throw new FlowError(error.code, message, rule, flow.target);
  }
}

function isMarker(value: unknown): value is { readonly flow: "IgnoreThisFlow" | "AuthoritativeNull" } {
  return typeof value === "object" && value !== null && "flow" in value;
}

type Converted = { readonly value: AttributeValue } | { readonly code: string; readonly message: string };

/** The value as the target holds it. One value fits a list and a list of one a single value; types must agree. */
export function convert(value: AttributeValue, target: AttributeInfo): Converted {
  if (isMultiValued(value)) {
    if (!target.multiValued && value.length > 1)
      return {
        code: "flow-multi-values-to-single-value",
        message: `gives ${value.length} values, the attribute holds one`,
      };
    const converted: Value[] = [];
    for (const one of value) {
      const result = convertOne(one, target.type);
      if (result === undefined) return mismatch(one, target);
      converted.push(result);
    }
    return { value: target.multiValued ? converted : converted[0]! };
  }
  const result = convertOne(value, target.type);
  if (result === undefined) return mismatch(value, target);
  return { value: target.multiValued ? [result] : result };
}

function mismatch(value: Value, target: AttributeInfo): Converted {
  return {
    code: "cs-attribute-type-mismatch",
    message: `gives a value of type ${typeOf(value)}, the attribute is of type ${target.type}`,
  };
}

function convertOne(value: Value, type: AttributeType): Value | undefined {
  const own = typeOf(value);
  if (own === type) return value;
  // A DN is text in one directory and a reference in the next; no other conversion is silent.
  if (own === "string" && type === "reference") return { kind: "reference", dn: value as string };
  if (own === "reference" && type === "string") return (value as { dn: string }).dn;
  return undefined;
}

export function typeOf(value: Value): AttributeType {
  if (typeof value === "string") return "string";
  if (typeof value === "bigint") return "integer";
  if (typeof value === "boolean") return "boolean";
  if (value instanceof Uint8Array) return "binary";
  if (isDateTime(value)) return "dateTime";
  if (isReference(value)) return "reference";
  throw new TypeError("Not an attribute value. This is a bug in the engine.");
}

/** The text of a constant in the target's type; undefined when it cannot be that. */
export function constantOf(value: Value, type: AttributeType): Value | undefined {
  const own = typeOf(value);
  if (own === type) return value;
  const text = own === "string" ? (value as string) : String(value);
  switch (type) {
    case "string":
      return own === "boolean" ? (value ? "True" : "False") : own === "integer" ? text : undefined;
    case "integer":
      return /^-?\d+$/.test(text) ? BigInt(text) : undefined;
    case "boolean":
      return /^true$/i.test(text) ? true : /^false$/i.test(text) ? false : undefined;
    case "reference":
      return own === "string" ? { kind: "reference", dn: text } : undefined;
    default:
      return undefined;
  }
}

/** An attribute of a record, and not what every JavaScript object inherits. */
export function own<T>(record: Readonly<Record<string, T>>, name: string): T | undefined {
  const found = record[name];
  return found !== undefined && Object.hasOwn(record, name) ? found : undefined;
}
