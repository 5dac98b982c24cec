/**
 * The filter that says which users are in scope, as a predicate and as OData.
 *
 * The full import sends it to Graph. The delta import cannot (users/delta filters by id alone,
 * https://learn.microsoft.com/graph/api/user-delta), so the very same filter must be decidable here; one that is
 * not is refused when the connector is made, and never silently ignored.
 */
import { ConnectorError } from "../../ports/connector.ts";

/** A user as Graph's JSON has it. */
export type GraphUser = Readonly<Record<string, unknown>>;

export interface UserFilter {
  /** The filter in one canonical spelling; empty when everybody is in scope. */
  readonly odata: string;
  /** The properties that a user must be read with to be decided. */
  readonly properties: readonly string[];
  matches(user: GraphUser): boolean;
  /** As `matches`, for a user of whom Graph may have kept some properties to itself. */
  mayMatch(user: GraphUser): boolean;
}

interface Comparison {
  readonly property: string;
  readonly value: string | boolean;
  readonly odata: string;
}

const comparisonPattern = /^(userType|accountEnabled)\s+eq\s+(?:'(Guest|Member)'|(true|false))$/;

/** @throws ConnectorError "configuration" for anything but `all`, and `userType eq '…'` and `accountEnabled eq …`, joined by `and`. */
export function parseUserFilter(text: string): UserFilter {
  const parts = text.trim() === "all" ? [] : text.trim().split(/\s+and\s+/);
  const comparisons = parts
    .map((part) => parseComparison(part, text))
    .sort((a, b) => (a.odata < b.odata ? -1 : 1));
  return {
    odata: comparisons.map(({ odata }) => odata).join(" and "),
    properties: [...new Set(comparisons.map(({ property }) => property))],
    matches: (user) => comparisons.every(({ property, value }) => user[property] === value),
    mayMatch: (user) => comparisons.every(({ property, value }) => (user[property] ?? value) === value),
  };
}

function parseComparison(part: string, whole: string): Comparison {
  const [, property, word, flag] = comparisonPattern.exec(part.trim()) ?? [];
  if (property === "userType" && word !== undefined) {
    return { property, value: word, odata: `userType eq '${word}'` };
  }
  if (property === "accountEnabled" && flag !== undefined) {
    return { property, value: flag === "true", odata: `accountEnabled eq ${flag}` };
  }
  throw new ConnectorError(
    "configuration",
    `The filter "${whole}" cannot be used. Supported are all, and userType eq 'Guest', userType eq 'Member', ` +
      "accountEnabled eq true and accountEnabled eq false, joined by 'and': a delta import must decide each " +
      "user by it without the service's help.",
  );
}
