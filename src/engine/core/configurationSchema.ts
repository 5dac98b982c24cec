/** The shapes of the configuration's files. `scripts/generate-schemas.ts` makes the editors' JSON Schemas of them. */
import { z } from "zod";
import { durationMs } from "./duration.ts";
import { type ScopeOperator, scopeOperatorAliases, scopeOperators } from "./scope.ts";

const name = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/, "use letters, digits, - and _, at most 63")
  .describe("Letters, digits, - and _.");
const ruleName = z.string().trim().min(1).max(200);
const extension = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9_.-]*\.[jt]s$/,
    "write the name of a file in the folder extensions, such as guests.ts",
  )
  .describe("A rules extension: a file in the folder extensions, such as guests.ts.");

const duration = z
  .string()
  .refine((text) => durationMs(text) !== undefined, "write an ISO 8601 duration such as P30D, PT12H or PT1S")
  .describe("ISO 8601, such as P30D or PT12H.");

const scopeCondition = z.strictObject({
  attribute: z.string().min(1),
  operator: z
    .enum([...scopeOperators, ...Object.keys(scopeOperatorAliases)] as [string, ...string[]])
    .transform((operator) => scopeOperatorAliases[operator] ?? (operator as ScopeOperator)),
  value: z
    .union([z.string(), z.boolean(), z.int(), z.array(z.string())])
    .transform((value) => (Array.isArray(value) ? value : String(value)))
    .optional()
    .describe("Text; %Name% is a parameter. A list for ISIN and ISNOTIN; none for ISNULL and ISNOTNULL."),
});
const scope = z
  .array(z.array(scopeCondition).min(1))
  .default([])
  .describe("Groups of conditions: all of one group must hold, one group is enough.");

export const userAccountControlBits: Readonly<Record<string, bigint>> = {
  ACCOUNTDISABLE: 0x2n,
  HOMEDIR_REQUIRED: 0x8n,
  PASSWD_NOTREQD: 0x20n,
  NORMAL_ACCOUNT: 0x200n,
  DONT_EXPIRE_PASSWORD: 0x10000n,
  SMARTCARD_REQUIRED: 0x40000n,
  TRUSTED_FOR_DELEGATION: 0x80000n,
  NOT_DELEGATED: 0x100000n,
};

const flow = z
  .strictObject({
    target: z.string().min(1).describe("The attribute that gets the value; `dn` in an outbound rule."),
    source: z.string().min(1).optional().describe("Direct: the attribute whose value flows as it is."),
    constant: z
      .union([z.string(), z.boolean(), z.int()])
      .optional()
      .describe("The same value for every object."),
    expression: z.string().min(1).optional().describe("An expression in the language of Entra Connect."),
    extension: z
      .string()
      .min(1)
      .optional()
      .describe("The connector's rules extension maps it; this is the flow rule name that it gets."),
    applyOnce: z.boolean().default(false).describe("Only when the object is created."),
    mergeType: z
      .enum(["update", "merge", "mergeCaseInsensitive"])
      .default("update")
      .describe("update: the lowest precedence wins. The merges collect the values of all rules."),
    ownedBits: z
      .union([
        z.int().min(1),
        z.array(z.enum(Object.keys(userAccountControlBits) as [string, ...string[]])).min(1),
      ])
      .transform((bits) =>
        typeof bits === "number"
          ? BigInt(bits)
          : bits.reduce((mask, bit) => mask | userAccountControlBits[bit]!, 0n),
      )
      .optional()
      .describe("The bits of an integer that the rules own; the others stay as the directory has them."),
  })
  .refine(
    ({ source, constant, expression, extension: mapped }) =>
      [source, constant, expression, mapped].filter((kind) => kind !== undefined).length === 1,
    "exactly one of source, constant, expression and extension must be there",
  );

export const ruleFile = z.strictObject({
  name: ruleName,
  description: z.string().optional(),
  direction: z.enum(["inbound", "outbound"]),
  connector: name,
  connectorObjectType: z.string().min(1),
  metaverseObjectType: z.string().min(1),
  linkType: z.enum(["join", "stickyJoin", "provision"]),
  precedence: z.int().min(0).describe("The lower number wins."),
  enabled: z.boolean().default(true),
  scope,
  join: z
    .array(
      z
        .array(
          z.strictObject({
            connectorAttribute: z.string().min(1),
            metaverseAttribute: z.string().min(1),
            caseSensitive: z.boolean().default(false),
          }),
        )
        .min(1),
    )
    .default([])
    .describe("Groups of conditions, tried in order; the first that finds exactly one object joins."),
  flows: z.array(flow),
  origin: z
    .record(z.string(), z.unknown())
    .optional()
    .describe("What the export says that the rule was taken over from; nothing reads it but its reader."),
});

const limit = z.strictObject({
  count: z.int().min(0).nullable().optional(),
  percent: z.number().min(0).max(100).nullable().optional(),
});
const kindLimits = z.strictObject({
  add: limit.optional(),
  update: limit.optional(),
  rename: limit.optional(),
  delete: limit.optional(),
  disable: limit.optional(),
});

export const runProfileTypes = ["fullImport", "fullSync", "deltaImport", "deltaSync", "export"] as const;

export const connectorFile = z.strictObject({
  name,
  kind: z.string().min(1).describe("graph or ad."),
  settings: z
    .record(
      z.string(),
      z.union([z.string(), z.number(), z.boolean(), z.array(z.union([z.string(), z.number(), z.boolean()]))]),
    )
    .default({})
    .describe("%NAME% is an app setting; %NAME|default% one that need not be set."),
  objectTypes: z
    .array(
      z.strictObject({
        name: z.string().min(1),
        attributes: z.array(z.string().min(1)).min(1),
      }),
    )
    .min(1),
  filter: scope.describe("An object that meets one of the groups stays out."),
  onAbsence: z
    .strictObject({ retain: duration })
    .optional()
    .describe("How long an object that is gone stays, absent, before it is deleted."),
  orphans: z
    .strictObject({
      disableAfter: duration.describe("How long an account belongs to nobody before it is disabled."),
      deleteAfter: duration.optional().describe("How long it is disabled before it is deleted."),
    })
    .optional()
    .describe("Accounts that belong to nobody; when not given they are listed and left alone."),
  extension: extension.optional(),
  deprovision: z
    .enum(["disconnect", "explicitDisconnect", "delete", "extension"])
    .default("disconnect")
    .describe("extension: the rules extension decides for each object."),
  keepHandMadeDisable: z
    .boolean()
    .default(true)
    .describe("Whether an account that somebody has disabled in the directory stays disabled."),
  limits: z
    .strictObject({
      export: kindLimits.optional(),
      import: kindLimits.optional(),
      shrinkPercent: z.number().min(0).max(100).optional(),
      percentFrom: z.int().min(0).optional(),
    })
    .optional(),
  approval: z
    .enum(["overLimits", "always"])
    .default("overLimits")
    .describe("always: nothing is exported before somebody has approved the export plan."),
  exportRetry: z
    .strictObject({
      delay: duration
        .default("PT15M")
        .describe("The wait after the third refusal; each further one doubles it."),
      delayMax: duration.default("P1D"),
      quarantineAfter: z
        .int()
        .min(1)
        .default(10)
        .describe("After so many refusals in a row an object is left alone until somebody lets it go."),
    })
    .prefault({}),
  runProfiles: z
    .array(z.strictObject({ name: z.string().min(1), type: z.enum(runProfileTypes) }))
    .min(1)
    .default([
      { name: "Full Import (Stage Only)", type: "fullImport" },
      { name: "Full Synchronization", type: "fullSync" },
      { name: "Delta Import (Stage Only)", type: "deltaImport" },
      { name: "Delta Synchronization", type: "deltaSync" },
      { name: "Export", type: "export" },
    ]),
});

export const cycleFile = z.strictObject({
  name,
  steps: z.array(z.strictObject({ connector: name, profile: z.string().min(1) })).min(1),
});

export const metaverseFile = z.strictObject({
  parameters: z
    .record(
      z.string().regex(/^[A-Za-z_][\w.]*$/),
      z.union([z.string(), z.boolean(), z.int()]).describe("May be an app setting: %NAME%."),
    )
    .default({})
    .describe("What rules write as %Name%."),
  extension: extension.optional(),
  objectTypes: z
    .array(
      z.strictObject({
        name,
        deletionRule: z
          .union([
            z.enum(["lastConnector", "lastProvisioningRule", "extension"]),
            z.strictObject({ anyOf: z.array(name).min(1) }),
          ])
          .default("lastConnector"),
        attributes: z
          .array(
            z.strictObject({
              name: z.string().min(1),
              type: z
                .enum(["string", "integer", "boolean", "binary", "dateTime", "reference"])
                .default("string"),
              multiValued: z.boolean().default(false),
              indexed: z.boolean().default(false).describe("Can be joined on, and searched fast."),
            }),
          )
          .min(1),
      }),
    )
    .min(1),
});

/** Every key that the shape knows, however deep; for "did you mean". */
export function keysOf(schema: z.ZodType): readonly string[] {
  const keys = new Set<string>();
  const walk = (node: unknown): void => {
    if (typeof node !== "object" || node === null) return;
    if ("properties" in node && typeof node.properties === "object" && node.properties !== null)
      for (const key of Object.keys(node.properties)) keys.add(key);
    for (const child of Object.values(node)) walk(child);
  };
  walk(z.toJSONSchema(schema, { io: "input" }));
  return [...keys];
}

/** JSON Schemas by the kind of file, as `scripts/generate-schemas.ts` writes them. */
export function editorSchemas(): Readonly<Record<string, unknown>> {
  const files = { connector: connectorFile, rule: ruleFile, cycle: cycleFile, metaverse: metaverseFile };
  return Object.fromEntries(
    Object.entries(files).map(([name, schema]) => [name, z.toJSONSchema(schema, { io: "input" })]),
  );
}
