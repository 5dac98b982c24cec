/** What the API answers, as schemas: the OpenAPI document is made of them, and tests hold real answers against them. */
import { z } from "zod";
import {
  acceptSchema,
  approvePlanSchema,
  disconnectSchema,
  emptySpaceSchema,
  joinSchema,
  jsonParametersSchema,
  jsonValueSchema,
  scheduleChangeSchema,
  startRunSchema,
  tryExpressionSchema,
  whySchema,
} from "./requests.ts";

/** By the name that the document gives them. */
export const schemas = new Map<string, z.ZodType>();

/** Gives a schema the name that the document has for it. */
export function named<T extends z.ZodType>(id: string, schema: T): T {
  schemas.set(id, schema);
  return schema;
}

export const time = z.iso.datetime();
export const count = z.int().min(0);
const attributes = named(
  "Attributes",
  z.record(
    z.string(),
    z.union([named("Value", jsonValueSchema), z.array(jsonValueSchema)]).describe("A list is multi-valued."),
  ),
);
export const attributeValue = z.union([jsonValueSchema, z.array(jsonValueSchema)]);

/** Every list: `continuation` is absent at the end. */
export function listOf<T extends z.ZodType>(id: string, item: T) {
  return named(id, z.object({ items: z.array(item), continuation: z.string().optional() }));
}

// ---- requests ----------------------------------------------------------------------------------------------------

named("StartRun", startRunSchema);
named("ApprovePlan", approvePlanSchema);
named("ScheduleChange", scheduleChangeSchema);
named("TryExpression", tryExpressionSchema);
named("Join", joinSchema);
named("Disconnect", disconnectSchema);
named("Why", whySchema);
named("AcceptImport", acceptSchema);
named("EmptySpace", emptySpaceSchema);
named("EmptiedSpace", z.object({ connector: z.string(), removed: z.int().min(0) }));
named("Parameters", jsonParametersSchema);

// ---- runs --------------------------------------------------------------------------------------------------------

export const statistics = named(
  "Statistics",
  z
    .record(z.string(), count)
    .describe("MIM's counters in camelCase, such as stageAdd; those at zero are absent."),
);

export const runError = named(
  "RunError",
  z.object({
    code: z.string(),
    anchor: z.string().nullable(),
    dn: z.string().nullable(),
    rule: z.string().nullable(),
    attribute: z.string().nullable(),
    message: z.string(),
    firstOccurred: time,
    retryCount: count,
    stack: z.string().optional().describe("Where in a rules extension an exception was thrown."),
  }),
);

const profileType = z.enum(["fullImport", "deltaImport", "fullSync", "deltaSync", "export"]);
const stepType = z.enum([...profileType.options, "rulesDiff", "rulesEffects"]);

const step = named(
  "Step",
  z.object({
    number: z.int().min(1),
    connector: z.string(),
    profile: z.string(),
    type: stepType,
    order: z
      .object({
        kind: z.enum(["join", "disconnect", "synchronize", "retry"]),
        object: z.string(),
        metaverseId: z.string().optional(),
        as: z.enum(["explicit", "normal"]).optional(),
      })
      .optional()
      .describe("What a person wanted done with one object; the step did this and nothing else."),
    status: z.string().describe("One of MIM's; waiting or in-progress before the end."),
    startedAt: time.nullable(),
    endedAt: time.nullable(),
    statistics,
    outbound: z
      .record(z.string(), statistics)
      .optional()
      .describe("Of a synchronisation: what it counted at its targets, by connector."),
    detail: z.string().nullable(),
    lastError: z.string().optional().describe("While work is tried again: why."),
    retryAt: time.optional(),
    errors: z.array(runError).optional().describe("Absent in lists of runs."),
  }),
);

const trigger = z.enum(["timer", "http", "cli", "start"]);

const run = named(
  "Run",
  z.object({
    id: z.string(),
    trigger,
    startedBy: z.string().nullable(),
    cycle: z.string().nullable(),
    status: z.string(),
    startedAt: time,
    endedAt: time.nullable(),
    steps: z.array(step),
    rulesVersion: z.string(),
    stopRequested: z.boolean().optional(),
    approval: z
      .object({ hash: z.string(), why: z.string().nullable(), by: z.string().nullable(), at: time })
      .nullable()
      .describe("Of the export of an approved plan: who has decided it, when and why."),
  }),
);
listOf("RunList", run);

// ---- connectors --------------------------------------------------------------------------------------------------

const hold = named(
  "Hold",
  z.object({
    metaverseId: z.string(),
    why: z.string(),
    by: z.string(),
    since: time,
    until: time.nullable().describe("Null: until it is released."),
  }),
);
named("HoldList", z.object({ items: z.array(hold) }));

const connector = named(
  "Connector",
  z.object({
    name: z.string(),
    kind: z.string(),
    runProfiles: z.array(z.object({ name: z.string(), type: profileType })),
    counts: z.object({
      objects: count,
      connectors: count,
      disconnectors: count,
      filteredDisconnectors: count,
      explicitDisconnectors: count,
      unconfirmedExports: count,
      errors: count,
      quarantined: count,
    }),
    pendingImports: z.object({ add: count, update: count, delete: count, deleteAdd: count }),
    pendingExports: z.object({ add: count, update: count, delete: count }),
    watermarkAt: time.nullable(),
    watermarkAgeSeconds: count.nullable(),
    lastFullImportAt: time.nullable(),
    fullImportRequired: z.boolean(),
    fullSynchronizationRequired: z.boolean(),
    exportsHeld: z
      .object({ status: z.string(), detail: z.string(), since: time, runId: z.string() })
      .nullable()
      .describe("Why exports wait for somebody to approve the export plan; null: they do not."),
    lastRuns: z.array(
      z.object({
        id: z.string(),
        cycle: z.string().nullable(),
        status: z.string(),
        startedAt: time,
        endedAt: time.nullable(),
        trigger,
      }),
    ),
  }),
);
listOf("ConnectorList", connector);

const importChange = z.enum(["add", "update", "delete", "deleteAdd"]);
export const exportChange = z.enum(["add", "update", "delete"]);

const image = named("Image", z.object({ objectType: z.string(), dn: z.string(), attributes }));
const pendingExport = named(
  "PendingExport",
  z.object({
    change: exportChange,
    newDn: z.string().optional(),
    reason: z.string(),
    attributes: z.array(
      z.object({
        name: z.string(),
        before: attributeValue.optional(),
        after: attributeValue.optional(),
        rule: z.string(),
      }),
    ),
  }),
);

export const connectorSpaceItem = named(
  "ConnectorSpaceItem",
  z.object({
    id: z.string(),
    connector: z.string(),
    objectType: z.string(),
    anchor: z.string().nullable(),
    dn: z.string(),
    state: z.enum([
      "connector",
      "explicitConnector",
      "disconnector",
      "explicitDisconnector",
      "filteredDisconnector",
    ]),
    metaverseId: z.string().nullable(),
    pendingImport: importChange.nullable(),
    pendingExport: exportChange.nullable(),
    unconfirmedExport: exportChange.nullable(),
    errorCode: z.string().nullable(),
  }),
);
listOf("ConnectorSpaceItemList", connectorSpaceItem);

named(
  "ConnectorSpaceObject",
  connectorSpaceItem.extend({
    tower: z.object({
      synchronized: image.nullable(),
      pendingImport: z.object({ change: importChange, image: image.nullable() }).nullable(),
      pendingExport: pendingExport.nullable(),
      escrowedExport: pendingExport.extend({ runId: z.string() }).nullable(),
      unconfirmedExport: z
        .object({
          change: exportChange,
          newDn: z.string().optional(),
          expected: z.record(z.string(), attributeValue.nullable()),
        })
        .nullable(),
    }),
    absence: z
      .object({
        kind: z.enum(["softDeleted", "deleted", "outOfScope", "notAllowed"]),
        since: time,
        byRules: z.literal(true).optional(),
      })
      .nullable(),
    held: z.array(z.string()).describe("Attributes in which a hand-made disable is kept."),
    hold: hold.nullable(),
    error: z
      .object({
        phase: z.enum(["import", "synchronization", "export"]),
        code: z.string(),
        message: z.string(),
        rule: z.string().optional(),
        attribute: z.string().optional(),
        firstOccurred: time,
        retryCount: count,
        stack: z.string().optional(),
        retryAt: time.optional().describe("Of a refused export: not tried again before."),
        quarantined: z
          .literal(true)
          .optional()
          .describe("Refused too often: not tried again until it is let go."),
      })
      .nullable(),
  }),
);

const exportCount = z.object({
  add: count,
  adopt: count,
  update: count,
  rename: count,
  enable: count,
  disable: count,
  delete: count,
});

named(
  "ExportPlan",
  z.object({
    connector: z.string(),
    hash: z.string(),
    state: z.enum(["pending", "held", "approved", "done"]),
    createdAt: time,
    expiresAt: time.nullable(),
    counts: exportCount,
    items: z.array(
      z.object({
        id: z.string(),
        anchor: z.string().nullable(),
        dn: z.string(),
        newDn: z.string().optional(),
        change: exportCount.keyof(),
        reason: z.string(),
        attributes: z.array(
          z.object({
            name: z.string(),
            before: attributeValue.nullable(),
            after: attributeValue.nullable(),
            rule: z.string(),
          }),
        ),
      }),
    ),
    onHold: z
      .array(
        z.object({
          id: z.string(),
          anchor: z.string().nullable(),
          dn: z.string(),
          change: exportCount.keyof(),
          hold,
        }),
      )
      .describe(
        "Pending too, and no part of the plan: their metaverse objects are on hold. First page only.",
      ),
    continuation: z.string().optional(),
  }),
);

// ---- metaverse ---------------------------------------------------------------------------------------------------

const metaverseItem = named(
  "MetaverseItem",
  z.object({
    id: z.string(),
    objectType: z.string(),
    attributes,
    connectors: z.array(
      z.object({ connector: z.string(), id: z.string(), anchor: z.string().nullable(), dn: z.string() }),
    ),
  }),
);
listOf("MetaverseItemList", metaverseItem);

named(
  "MetaverseObject",
  metaverseItem.extend({
    lineage: z.record(
      z.string(),
      z.array(
        z.object({
          value: attributeValue.nullable().describe("Null: the rule says that there be no value."),
          connector: z.string(),
          rule: z.string(),
          precedence: z.int(),
          since: time.nullable(),
          won: z.boolean(),
          expression: z.string().nullable().describe("The flow as it stands in the rule."),
          inputs: z.record(z.string(), attributeValue.nullable()).describe("What the flow reads."),
          reason: z.string(),
        }),
      ),
    ),
    hold: hold.nullable(),
  }),
);

// ---- the rest ----------------------------------------------------------------------------------------------------

named(
  "ExpressionValue",
  z.object({
    value: z
      .union([
        jsonValueSchema,
        z.array(jsonValueSchema),
        z.object({ $flow: z.enum(["IgnoreThisFlow", "AuthoritativeNull"]) }),
      ])
      .nullable()
      .describe("Null: no value."),
  }),
);

const expressionProblem = named(
  "ExpressionProblem",
  z.object({
    code: z.string(),
    message: z.string(),
    line: z.int().min(1),
    column: z.int().min(1),
    length: z.int().min(1),
    suggestion: z.string().optional(),
    severity: z.enum(["error", "warning"]),
  }),
);

named(
  "Schedule",
  z.object({
    suspended: z.boolean(),
    changedAt: time.nullable(),
    changedBy: z.string().nullable(),
    cycleSchedule: z.string().describe("NCRONTAB with six fields, UTC."),
    stagingMode: z.boolean(),
    cycleInProgress: z.string().nullable().describe("The id of the run."),
    nextCycle: z.enum(["initial", "delta"]),
  }),
);

named(
  "Health",
  z.object({
    status: z.enum(["healthy", "degraded"]),
    checks: z.array(
      z.object({ name: z.string(), status: z.enum(["healthy", "warning", "failed"]), message: z.string() }),
    ),
  }),
);

export const ruleProblem = named(
  "RuleProblem",
  z.object({
    file: z.string(),
    line: count,
    column: count,
    length: count.optional(),
    code: z.string().optional(),
    message: z.string(),
    remedy: z.string(),
    setting: z.string().optional(),
  }),
);

named(
  "Problem",
  z.object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    code: z.string().describe("Stable; the other texts are for people."),
    detail: z.string(),
    runId: z.string().optional().describe("run-in-progress: the run in the way."),
    suggestions: z
      .array(z.string())
      .optional()
      .describe("unknown-…: the names that there are, the likeliest first."),
    ruleProblems: z
      .array(ruleProblem)
      .optional()
      .describe("invalid-rules: what is wrong, each with its place."),
    problems: z
      .array(expressionProblem)
      .optional()
      .describe("invalid-expression: what is wrong, each with its place."),
  }),
);
