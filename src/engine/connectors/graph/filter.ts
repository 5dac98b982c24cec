/**
 * The filters that say which users and groups are in scope, as predicates and as OData.
 *
 * The full import sends them to Graph. The delta import cannot (delta filters by id alone,
 * https://learn.microsoft.com/graph/delta-query-overview), so the very same filter must be decidable here; one that is
 * not is refused when the connector is made, and never silently ignored.
 */
import { ConnectorError } from "../../ports/connector.ts";

/** A user or group as Graph's JSON has it. */
export type GraphObject = Readonly<Record<string, unknown>>;

export interface ObjectFilter {
  /** The filter in one canonical spelling; empty when everything is in scope. */
  readonly odata: string;
  /** The properties that an object must be read with to be decided. */
  readonly properties: readonly string[];
  matches(object: GraphObject): boolean;
  /** As `matches`, for an object of which Graph may have kept some properties to itself. */
  mayMatch(object: GraphObject): boolean;
}

interface Comparison {
  readonly property: string;
  readonly value: string | boolean;
  readonly odata: string;
}

interface Grammar {
  /** Of one comparison: property, and a word or a truth value. */
  readonly pattern: RegExp;
  readonly supported: string;
}

const users: Grammar = {
  pattern: /^(?:(userType)\s+eq\s+'(Guest|Member)'|(accountEnabled)\s+eq\s+(true|false))$/,
  supported:
    "userType eq 'Guest', userType eq 'Member', accountEnabled eq true and accountEnabled eq false, joined by 'and': " +
    "a delta import must decide each user",
};
const groups: Grammar = {
  pattern: /^(?:()()(securityEnabled|mailEnabled)\s+eq\s+(true|false))$/,
  supported:
    "securityEnabled eq true (or false) and mailEnabled eq true (or false), joined by 'and': a delta import must decide " +
    "each group",
};

/** @throws ConnectorError "configuration" for anything but `all`, and `userType eq '…'` and `accountEnabled eq …`, joined by `and`. */
export function parseUserFilter(text: string): ObjectFilter {
  return parseFilter(text, users);
}

/** @throws ConnectorError "configuration" for anything but `all`, and `securityEnabled eq …` and `mailEnabled eq …`, joined by `and`. */
export function parseGroupFilter(text: string): ObjectFilter {
  return parseFilter(text, groups);
}

function parseFilter(text: string, grammar: Grammar): ObjectFilter {
  const parts = text.trim() === "all" ? [] : text.trim().split(/\s+and\s+/);
  const comparisons = parts
    .map((part) => parseComparison(part, text, grammar))
    .sort((a, b) => (a.odata < b.odata ? -1 : 1));
  return {
    odata: comparisons.map(({ odata }) => odata).join(" and "),
    properties: [...new Set(comparisons.map(({ property }) => property))],
    matches: (object) => comparisons.every(({ property, value }) => object[property] === value),
    mayMatch: (object) => comparisons.every(({ property, value }) => (object[property] ?? value) === value),
  };
}

function parseComparison(part: string, whole: string, { pattern, supported }: Grammar): Comparison {
  const [, texts, word, flags, flag] = pattern.exec(part.trim()) ?? [];
  if (texts !== undefined && word !== undefined && texts !== "") {
    return { property: texts, value: word, odata: `${texts} eq '${word}'` };
  }
  if (flags !== undefined && flag !== undefined) {
    return { property: flags, value: flag === "true", odata: `${flags} eq ${flag}` };
  }
  throw new ConnectorError(
    "configuration",
    `The filter "${whole}" cannot be used. Supported are all, and ${supported} by it without the service's help.`,
  );
}
