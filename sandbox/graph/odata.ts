/**
 * The part of OData that a Graph request for users may hold: system query options and the language of `$filter`.
 * https://learn.microsoft.com/graph/query-parameters, https://learn.microsoft.com/graph/filter-query-parameter
 */

import type { FilterOperator, Json, ResourceType } from "./properties.ts";
import { userResource } from "./properties.ts";

/** A refusal in the service's words: HTTP status, Graph error code, message. */
export class GraphFault extends Error {
  readonly status: number;
  readonly code: string;
  readonly headers: Readonly<Record<string, string>>;

  constructor(status: number, code: string, message: string, headers: Readonly<Record<string, string>> = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.headers = headers;
  }
}

export function badRequest(message: string): GraphFault {
  return new GraphFault(400, "BadRequest", message);
}

export function unsupportedQuery(message = "Unsupported Query."): GraphFault {
  return new GraphFault(400, "Request_UnsupportedQuery", message);
}

const knownOptions = [
  "$select",
  "$filter",
  "$top",
  "$count",
  "$search",
  "$orderby",
  "$expand",
  "$skip",
  "$skiptoken",
  "$deltatoken",
  "$format",
] as const;

export type QueryOption = (typeof knownOptions)[number];
export type QueryOptions = ReadonlyMap<QueryOption, string>;

/** System query options by lower-case name: the service does not mind the case ($deltaToken). */
export function parseOptions(query: URLSearchParams): QueryOptions {
  const options = new Map<QueryOption, string>();
  for (const [name, value] of query) {
    if (!name.startsWith("$")) continue;
    const option = knownOptions.find((known) => known === name.toLowerCase());
    if (option === undefined) {
      throw badRequest(`The query parameter '${name}' is not supported.`);
    }
    if (options.has(option)) {
      throw badRequest(
        `Query option '${name}' was specified more than once, but it must be specified at most once.`,
      );
    }
    options.set(option, value);
  }
  return options;
}

function canonicalName({ propertyTypes }: ResourceType, text: string): string | undefined {
  if (propertyTypes.has(text)) return text;
  return [...propertyTypes.keys()].find((name) => name.toLowerCase() === text.toLowerCase());
}

/** The properties of `$select` by their own names, each once. */
export function parseSelect(text: string, resource = userResource): string[] {
  const names = text.split(",").map((name) => {
    const canonical = canonicalName(resource, name.trim());
    if (canonical === undefined) {
      throw badRequest(
        `Parsing OData Select and Expand failed: Could not find a property named '${name.trim()}' on type 'microsoft.graph.${resource.name}'.`,
      );
    }
    return canonical;
  });
  return [...new Set(names)];
}

export type Filter =
  | { readonly kind: "and" | "or"; readonly left: Filter; readonly right: Filter }
  | { readonly kind: "not"; readonly inner: Filter }
  | {
      readonly kind: "test";
      readonly property: string;
      readonly operator: FilterOperator;
      readonly values: readonly Json[];
    };

/**
 * Parses `$filter`.
 * @throws GraphFault for what the service does not understand or does not support on the property
 */
export function parseFilter(text: string, resource = userResource): Filter {
  const tokens = tokenize(text);
  let next = 0;

  const peek = (): string | undefined => tokens[next];
  const isWord = (word: string): boolean => peek()?.toLowerCase() === word;
  const take = (expected?: string): string => {
    const token = tokens[next];
    if (token === undefined || (expected !== undefined && token !== expected)) {
      throw badRequest(`Invalid filter clause: Syntax error at position ${text.length} in '${text}'.`);
    }
    next += 1;
    return token;
  };
  const chain = (word: "and" | "or", operand: () => Filter): Filter => {
    let left = operand();
    while (isWord(word)) {
      take();
      left = { kind: word, left, right: operand() };
    }
    return left;
  };
  const or = (): Filter => chain("or", and);
  const and = (): Filter => chain("and", not);
  const not = (): Filter => {
    if (!isWord("not")) return primary();
    take();
    return { kind: "not", inner: primary() };
  };
  const primary = (): Filter => {
    if (peek() === "(") {
      take();
      const inner = or();
      take(")");
      return inner;
    }
    const head = take();
    if (peek() === "(") {
      const operator = head.toLowerCase();
      if (operator !== "startswith" && operator !== "endswith") {
        throw badRequest(`Invalid filter clause: An unknown function with name '${head}' was found.`);
      }
      take("(");
      const property = propertyNamed(resource, take());
      take(",");
      const value = literal(take());
      take(")");
      return test(resource, property, operator, [value]);
    }
    const property = propertyNamed(resource, head);
    const operator = take().toLowerCase();
    if (operator === "in") {
      take("(");
      const values = [literal(take())];
      while (peek() === ",") {
        take();
        values.push(literal(take()));
      }
      take(")");
      return test(resource, property, "in", values);
    }
    if (operator !== "eq" && operator !== "ne" && operator !== "ge" && operator !== "le") {
      throw badRequest(`Invalid filter clause: Syntax error: '${operator}' in '${text}'.`);
    }
    return test(resource, property, operator, [literal(take())]);
  };

  const filter = or();
  if (next < tokens.length) throw badRequest(`Invalid filter clause: Syntax error in '${text}'.`);
  return filter;
}

function tokenize(text: string): string[] {
  const tokens: string[] = text.match(/'(?:[^']|'')*'|[(),]|[^\s(),']+|'/g) ?? [];
  if (tokens.includes("'"))
    throw badRequest("Invalid filter clause: There is an unterminated string literal.");
  return tokens;
}

function propertyNamed(resource: ResourceType, text: string): string {
  const name = canonicalName(resource, text);
  if (name === undefined) {
    throw badRequest(
      `Invalid filter clause: Could not find a property named '${text}' on type 'microsoft.graph.${resource.name}'.`,
    );
  }
  return name;
}

function literal(token: string): Json {
  if (token.startsWith("'")) return token.slice(1, -1).replaceAll("''", "'");
  const word = token.toLowerCase();
  if (word === "true") return true;
  if (word === "false") return false;
  if (word === "null") return null;
  if (/^\d{4}-\d\d-\d\d(T.*)?$/.test(token)) return token;
  if (/^-?\d+$/.test(token)) return Number(token);
  throw badRequest(`Invalid filter clause: Unrecognized literal '${token}'.`);
}

function test(
  { name, filterSupport, propertyTypes }: ResourceType,
  property: string,
  operator: FilterOperator,
  values: readonly Json[],
): Filter {
  const supported = filterSupport.get(property);
  if (supported === undefined || !(supported.byDefault.has(operator) || supported.advanced.has(operator))) {
    throw unsupportedQuery(
      `Unsupported or invalid query filter clause specified for property '${property}' of resource '${name === "user" ? "User" : "Group"}'.`,
    );
  }
  const expected = propertyTypes.get(property) === "boolean" ? "boolean" : "string";
  for (const value of values) {
    if (value !== null && typeof value !== expected) {
      throw badRequest(
        "Invalid filter clause: A binary operator with incompatible types was detected. " +
          `Property '${property}' cannot be compared with ${JSON.stringify(value)}.`,
      );
    }
  }
  return { kind: "test", property, operator, values };
}

/** Whether the filter works only with `ConsistencyLevel: eventual` and `$count=true`. */
export function needsAdvancedQuery(filter: Filter, resource = userResource): boolean {
  switch (filter.kind) {
    case "and":
    case "or":
      return needsAdvancedQuery(filter.left, resource) || needsAdvancedQuery(filter.right, resource);
    case "not":
      return true;
    case "test": {
      const byDefault = resource.filterSupport.get(filter.property)?.byDefault;
      return byDefault?.has(filter.operator) !== true || filter.values.includes(null);
    }
  }
}

/** Whether a user matches. Strings compare without regard to case, as in the directory. */
export function matches(filter: Filter, value: (property: string) => Json): boolean {
  switch (filter.kind) {
    case "and":
      return matches(filter.left, value) && matches(filter.right, value);
    case "or":
      return matches(filter.left, value) || matches(filter.right, value);
    case "not":
      return !matches(filter.inner, value);
    case "test":
      return compare(filter.operator, fold(value(filter.property)), filter.values.map(fold));
  }
}

function compare(operator: FilterOperator, actual: Json, values: readonly Json[]): boolean {
  const wanted = values[0] ?? null;
  switch (operator) {
    case "eq":
      return actual === wanted;
    case "ne":
      return actual !== wanted;
    case "in":
      return values.includes(actual);
    case "startswith":
      return typeof actual === "string" && actual.startsWith(String(wanted));
    case "endswith":
      return typeof actual === "string" && actual.endsWith(String(wanted));
    case "ge":
      return actual !== null && wanted !== null && actual >= wanted;
    case "le":
      return actual !== null && wanted !== null && actual <= wanted;
    default:
      return false;
  }
}

function fold(value: Json): Json {
  return typeof value === "string" ? value.toLowerCase() : value;
}

/** The ids of a filter of the form `id eq '…' or id eq '…'`, or undefined for any other filter. */
export function idsOnly(filter: Filter): string[] | undefined {
  if (filter.kind === "test") {
    return filter.property === "id" && (filter.operator === "eq" || filter.operator === "in")
      ? filter.values.map((value) => String(value).toLowerCase())
      : undefined;
  }
  if (filter.kind !== "or") return undefined;
  const left = idsOnly(filter.left);
  const right = idsOnly(filter.right);
  return left && right && [...left, ...right];
}

/** Whether the filter is exactly `userType eq 'Guest'`, which needs no look at the other properties. */
export function isGuestFilter(filter: Filter): boolean {
  return (
    filter.kind === "test" &&
    filter.property === "userType" &&
    filter.operator === "eq" &&
    String(filter.values[0]).toLowerCase() === "guest"
  );
}
