/**
 * Scope filters: an OR of AND-groups over attributes, as in the rules of Entra Connect.
 *
 * Two things that Microsoft's page does not say and its own rules need: a negative operator holds for an absent
 * attribute (`cloudMastered NOTEQUAL True`), and numbers are compared as numbers (`memberCount LESSTHAN 50000`).
 */
import {
  type AttributeValue,
  comparisonKey,
  dateTimeFromMs,
  dnKey,
  isDateTime,
  isReference,
  type Value,
  valuesOf,
} from "./values.ts";

export const scopeOperators = [
  "EQUAL",
  "NOTEQUAL",
  "LESSTHAN",
  "LESSTHAN_OR_EQUAL",
  "GREATERTHAN",
  "GREATERTHAN_OR_EQUAL",
  "CONTAINS",
  "NOTCONTAINS",
  "STARTSWITH",
  "NOTSTARTSWITH",
  "ENDSWITH",
  "NOTENDSWITH",
  "ISNULL",
  "ISNOTNULL",
  "ISIN",
  "ISNOTIN",
  "ISBITSET",
  "ISBITNOTSET",
  "ISMEMBEROF",
  "ISNOTMEMBEROF",
] as const;
export type ScopeOperator = (typeof scopeOperators)[number];

/** Spellings in Microsoft's pages for what the product itself exports otherwise. */
export const scopeOperatorAliases: Readonly<Record<string, ScopeOperator>> = {
  ISNOTBITSET: "ISBITNOTSET",
  NOTSTARTWITH: "NOTSTARTSWITH",
};

export interface ScopeCondition {
  readonly attribute: string;
  readonly operator: ScopeOperator;
  /** Text as in an export; `%Name%` is replaced by the parameter. A list for ISIN and ISNOTIN. */
  readonly value?: string | readonly string[];
}
/** All conditions must hold. */
export type ScopeGroup = readonly ScopeCondition[];

/** What a scope is asked about: the attributes of one object, and the parameters of the installation. */
export interface ScopeContext {
  attribute(name: string): AttributeValue | undefined;
  parameter?(name: string): Value | undefined;
}
export type ScopeTest = (context: ScopeContext) => boolean;
