/** What the API answers about rules and their versions. */
import { z } from "zod";
import { activateRulesSchema, putRuleSchema } from "./requests.ts";
import { count, named, ruleProblem, time } from "./schemas.ts";

named("ActivateRules", activateRulesSchema);
named("PutRule", putRuleSchema);

const rule = z.object({
  name: z.string(),
  file: z.string(),
  origin: z.enum(["file", "edit"]).describe("edit: made through the API, in the place of the file."),
  editedBy: z.string().optional(),
  editedAt: time.optional(),
  why: z.string().optional(),
});

named(
  "RuleList",
  z.object({
    active: count.nullable().describe("The active version."),
    pinned: z.boolean().describe("After a rollback: it stands until the files or edits change."),
    candidate: z
      .object({
        state: z.enum(["refused", "waiting"]),
        version: count.nullable(),
        since: time,
        reasons: z.array(z.string()),
      })
      .nullable()
      .describe("A set that does not check, or that waits for approval."),
    message: z.string(),
    items: z.array(rule),
  }),
);
const ruleWithText = rule.extend({ text: z.string().describe("YAML.") });
named("Rule", ruleWithText);
named(
  "StagedRule",
  ruleWithText.extend({
    problems: z.array(ruleProblem).describe("What is wrong with the set as it is now; it would be refused."),
  }),
);

const version = z.object({
  version: count,
  hash: z.string(),
  state: z
    .enum(["active", "waiting", "former", "superseded"])
    .describe("superseded: it was never activated."),
  active: z.boolean(),
  author: z.string(),
  createdAt: time,
  why: z.string(),
  counts: z.object({ rules: count, added: count, changed: count, deleted: count }),
  reasons: z.array(z.string()).describe("Why it has to be approved; empty when it has not."),
  effect: z
    .object({
      runId: z.string().describe("GET /rules/diff/{runId} shows the objects."),
      counts: z.record(z.string(), z.record(z.string(), count)).describe("By connector and kind of effect."),
    })
    .nullable()
    .describe("What it would have done to everybody when it was decided about; null: nobody was looked at."),
  activatedAt: time.nullable(),
  activatedBy: z.string().nullable(),
  activatedWhy: z.string().nullable(),
});
named("RulesVersion", version);
named("RulesVersionList", z.object({ items: z.array(version), continuation: z.string().optional() }));
named(
  "ActivatedRules",
  version.extend({
    fullSynchronizationRequired: z
      .array(z.string())
      .describe("The connectors that the next cycle synchronises in full."),
  }),
);
