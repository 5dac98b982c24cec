/** The types of objects that one connector imports, each with everything that its requests depend on. */
import type { ConnectorDefinition } from "../../ports/connector.ts";
import { ConnectorError } from "../../ports/connector.ts";
import type { ObjectFilter } from "./filter.ts";
import { parseGroupFilter, parseUserFilter } from "./filter.ts";
import { groupSchema } from "./groupSchema.ts";
import { type GraphTypeSchema, type SelectedAttributes, selectAttributes } from "./objectSchema.ts";
import type { GraphSettings } from "./settings.ts";
import { userSchema } from "./userSchema.ts";

export type GraphTypeName = GraphTypeSchema["name"];

export interface GraphObjectType {
  readonly name: GraphTypeName;
  /** Below the version: `/users`, `/groups`. */
  readonly collection: string;
  readonly attributes: SelectedAttributes;
  readonly filter: ObjectFilter;
  /** The properties of a read, those of the filter among them. */
  readonly select: string;
  /** `$select=…`, and `&$expand=…` where a relationship comes with the object. */
  readonly query: string;
  /** `$select` of a delta round: properties, and the relationships that rounds tell of. */
  readonly deltaSelect: string;
  /** The most objects that a page of the listing may have. */
  readonly pageSizeMax: number;
  /** The relationship that a read brings along. */
  readonly expanded: string | undefined;
  /** Relationships that are read for each object. */
  readonly readApart: readonly string[];
}

/**
 * One relationship can be expanded in a request; with it the page has 100 objects at most, and each at most 20 related
 * ones. https://learn.microsoft.com/graph/query-parameters#expand
 */
export const expandedMax = 20;
const pageSizeMaxExpanded = 100;
/** Groups may be large, so few of them are taken at once. */
const pageSizeMaxWithMembers = 40;

/** https://learn.microsoft.com/graph/delta-query-overview: of sponsors no round tells. */
const trackedReferences: ReadonlySet<string> = new Set(["manager", "members"]);

const kinds = {
  user: { schema: userSchema, collection: "/users", expandable: ["manager", "sponsors"] },
  group: { schema: groupSchema, collection: "/groups", expandable: [] },
} as const;

/** @throws ConnectorError "configuration" for an unknown type or attribute, or an unsupported filter. */
export function objectTypesOf(
  { name: connector, objectTypes }: ConnectorDefinition,
  { filter, groupFilter }: Pick<GraphSettings, "filter" | "groupFilter">,
): readonly GraphObjectType[] {
  const names = objectTypes.map(({ name }) => name);
  const unknown = names.find((name) => !(name in kinds));
  if (unknown !== undefined || new Set(names).size < names.length || names.length === 0) {
    throw new ConnectorError(
      "configuration",
      `Connector ${connector}: a Graph connector has the object types "user" and "group", each once at most, not "${names.join(", ")}".`,
    );
  }
  return objectTypes
    .map((type): GraphObjectType => {
      const { schema, collection, expandable } = kinds[type.name as GraphTypeName];
      const attributes = selectAttributes(connector, type.attributes, schema);
      const parsed = schema.name === "user" ? parseUserFilter(filter) : parseGroupFilter(groupFilter);
      const select = [...new Set([...attributes.properties, ...parsed.properties])].sort().join(",");
      const references = attributes.references.map(({ name }) => name);
      const expanded = expandable.find((name) => references.includes(name));
      const tracked = references.filter((name) => trackedReferences.has(name)).sort();
      return {
        name: schema.name,
        collection,
        attributes,
        filter: parsed,
        select,
        query: `$select=${select}${expanded === undefined ? "" : `&$expand=${expanded}($select=id)`}`,
        deltaSelect: [select, ...tracked].join(","),
        pageSizeMax:
          expanded !== undefined
            ? pageSizeMaxExpanded
            : references.includes("members")
              ? pageSizeMaxWithMembers
              : 999,
        expanded,
        readApart: references.filter((name) => name !== expanded),
      };
    })
    .sort((a, b) => (a.name > b.name ? -1 : 1)); // users before the groups that they are in
}
