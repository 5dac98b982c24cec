/** What the calls answer that tell why: preview, and all that an administrator looks into. */
import { z } from "zod";
import { effectKinds } from "../engine/runs/rulesDiff.ts";
import { holdSchema, previewSchema, rulesDiffSchema } from "./requests.ts";
import {
  attributeValue,
  connectorSpaceItem,
  count,
  exportChange,
  listOf,
  named,
  runError,
  statistics,
  time,
} from "./schemas.ts";

const value = attributeValue.nullable().describe("Null: no value.");
const text = z.string();

named("PreviewRequest", previewSchema);

const scope = named(
  "ScopeExplanation",
  z.object({
    holds: z.boolean(),
    groups: z
      .array(
        z.array(
          z.object({
            attribute: text,
            operator: text,
            value: z.union([text, z.array(text)]).nullable(),
            actual: value,
            holds: z.boolean(),
          }),
        ),
      )
      .describe("All clauses of one group must hold, one group is enough; none: every object is in scope."),
  }),
);

const rule = named(
  "RuleExplanation",
  z.object({
    rule: text,
    connector: text,
    direction: z.enum(["inbound", "outbound"]),
    linkType: z.enum(["join", "stickyJoin", "provision"]),
    precedence: z.int(),
    inScope: z.boolean(),
    scope,
    message: text,
  }),
);

const flow = z.object({
  rule: text,
  precedence: z.int(),
  expression: text.nullable().describe("As it stands in the rule: [source], a constant, or the expression."),
  inputs: z.record(text, value).describe("The attributes that it reads."),
});

const pendingExport = named(
  "PendingExportExplanation",
  z.object({
    change: exportChange,
    newDn: text.optional(),
    reason: text,
    attributes: z.array(flow.extend({ name: text, before: value, after: value })),
  }),
);

const cause = z.object({
  step: z.enum(["inbound", "deletion", "outbound"]),
  connector: text,
  object: text,
  rule: text.optional(),
  message: text,
});

named(
  "Preview",
  z.object({
    connector: text,
    kind: z.enum(["full", "delta"]),
    at: time,
    rulesVersion: text,
    summary: z.array(text),
    considered: z.boolean().describe("False: a delta synchronisation would not look at the object."),
    before: connectorSpaceItem,
    after: connectorSpaceItem.nullable(),
    filter: scope.nullable(),
    rules: z.array(rule),
    connection: z.object({
      decision: z.enum(["stay", "join", "projection", "disconnector", "failed"]),
      metaverseId: text.nullable(),
      rule: text.nullable(),
      message: text,
      joins: z.array(
        z.object({
          rule: text,
          group: z.int().min(1),
          conditions: z.array(
            z.object({
              connectorAttribute: text,
              metaverseAttribute: text,
              value,
              caseSensitive: z.boolean(),
            }),
          ),
          matches: z.array(text),
          message: text,
        }),
      ),
    }),
    metaverse: z
      .object({
        id: text,
        objectType: text,
        change: z.enum(["add", "update", "delete", "none"]),
        attributes: z.array(
          z.object({
            name: text,
            before: value,
            after: value,
            contributions: z.array(
              flow.extend({
                connector: text,
                object: text,
                value,
                authoritativeNull: z.boolean(),
                won: z.boolean(),
                reason: text,
              }),
            ),
          }),
        ),
      })
      .nullable(),
    targets: z.array(
      z.object({
        connector: text,
        id: text.nullable(),
        anchor: text.nullable(),
        dn: text.nullable(),
        decision: z.enum([
          "provision",
          "adopt",
          "flow",
          "rename",
          "delete",
          "disconnect",
          "withdraw",
          "leave",
          "none",
        ]),
        message: text,
        rules: z.array(rule),
        pendingExport: z.object({ before: pendingExport.nullable(), after: pendingExport.nullable() }),
      }),
    ),
    errors: z.array(runError),
    inbound: statistics,
    outbound: z.record(text, z.record(text, count)),
    decisions: z.array(cause),
  }),
);

// ---- comparing rules ---------------------------------------------------------------------------------------------

named("RulesDiffRequest", rulesDiffSchema);

named(
  "RulesDiff",
  z.object({
    runId: text,
    status: text.describe("Of the run; while it is in progress this is what has been found so far."),
    rulesVersion: text,
    counts: z
      .record(text, z.record(z.enum(effectKinds), count))
      .describe("By connector: how many of its objects the changed rules would change, by kind."),
    items: z.array(
      z.object({
        connector: text,
        id: text,
        anchor: text.nullable(),
        dn: text,
        newDn: text.optional(),
        metaverseId: text.nullable(),
        change: z.enum(effectKinds),
        reason: text,
        attributes: z.array(z.object({ name: text, before: value, after: value, rule: text })),
      }),
    ),
    continuation: text.optional(),
  }),
);

// ---- orphans -----------------------------------------------------------------------------------------------------

listOf(
  "OrphanList",
  z.object({
    id: text,
    connector: text,
    objectType: text,
    anchor: text.nullable(),
    dn: text,
    state: text,
    stamped: z
      .boolean()
      .describe("Whether it carries a stamp: an account of ours, or of what was before us."),
    stamp: text.nullable(),
    disabled: z.boolean().nullable().describe("Null: it cannot be told."),
    reason: text,
    since: time
      .nullable()
      .describe("Since when it is known to belong to nobody; null: nothing is done about it."),
    next: z
      .object({ change: z.enum(["disable", "delete"]), at: time.describe("No earlier.") })
      .nullable()
      .describe("What is done about it next; null: nothing."),
  }),
);

// ---- holds, history, audit ---------------------------------------------------------------------------------------

named("HoldRequest", holdSchema);
named("Released", z.object({ metaverseId: text, released: z.literal(true) }));

const linkedObject = z.object({ connector: text, id: text, anchor: text.nullable(), dn: text });
const historyEntry = named(
  "HistoryEntry",
  z.object({
    at: time,
    kind: z.enum(["created", "changed", "deleted", "exported", "held", "released"]),
    runId: text.nullable().describe("Null: done by hand."),
    message: text,
    attributes: z.array(
      z.object({
        name: text,
        before: value,
        after: value,
        connector: text.nullable(),
        rule: text.nullable(),
      }),
    ),
    connected: z.array(linkedObject),
    disconnected: z.array(linkedObject),
    object: linkedObject.optional().describe("exported: the object that was written."),
    who: text.optional(),
    why: text.optional(),
  }),
);
listOf("HistoryList", historyEntry);

const auditEntry = named(
  "AuditEntry",
  z.object({
    id: text,
    at: time,
    who: text,
    what: text,
    about: z.object({
      connector: text.optional(),
      object: text.optional(),
      metaverseId: text.optional(),
      runId: text.optional(),
      rulesVersion: text.optional(),
    }),
    why: text.nullable(),
    details: z.record(text, z.union([text, z.number(), z.boolean(), z.null()])),
  }),
);
listOf("AuditList", auditEntry);
