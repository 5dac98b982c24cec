/** The bodies that the API takes. */
import { z } from "zod";

export const startRunSchema = z.union(
  [
    z.strictObject({ cycle: z.string().min(1) }),
    z.strictObject({ connector: z.string().min(1), profile: z.string().min(1) }),
  ],
  { error: 'Give {"cycle": "delta"}, or {"connector": "AADMA", "profile": "Full Import (Stage Only)"}.' },
);

/** A hash that is none of a plan is answered like one that has lapsed. */
export const approvePlanSchema = z.strictObject({
  hash: z.string().min(1).max(200),
  why: z.string().trim().min(1).max(1000).optional(),
});

const why = z.string().trim().min(1).max(2000);

/** The bodies of what is done to one object by hand. */
export const whySchema = z.strictObject({ why: why.nullable().default(null) });
export const joinSchema = z.strictObject({
  metaverseId: z.string().min(1),
  why: why.nullable().default(null),
});
export const disconnectSchema = z.strictObject({
  as: z.enum(["explicit", "normal"]).default("explicit"),
  why: why.nullable().default(null),
});

/** `confirm` repeats the connector's name. */
export const emptySpaceSchema = z.strictObject({
  confirm: z.string().optional(),
  why: why.nullable().default(null),
});

/** Whoever overrules a guard says why. */
export const acceptSchema = z.strictObject({ why });

export const scheduleChangeSchema = z.strictObject({ suspended: z.boolean() });

const int64 = z
  .string()
  .regex(/^-?\d{1,19}$/)
  .refine((text) => BigInt.asIntN(64, BigInt(text)) === BigInt(text), "is not a signed 64-bit integer");

/** One value as `core/values.ts` writes it: a plain scalar, or a tagged object. */
export const jsonValueSchema = z.union([
  z.string(),
  z.boolean(),
  z.int(),
  z.strictObject({ $dt: z.iso.datetime({ offset: true }) }),
  z.strictObject({ $bin: z.base64() }),
  z.strictObject({ $int64: int64 }),
  z.strictObject({ $ref: z.string() }),
]);

/** A list is multi-valued; null and the empty list are absent. */
export const jsonAttributesSchema = z.record(
  z.string(),
  z.union([jsonValueSchema, z.array(jsonValueSchema), z.null()]),
);
export const jsonParametersSchema = z.record(z.string(), jsonValueSchema);

export const tryExpressionSchema = z.strictObject({
  expression: z.string(),
  attributes: jsonAttributesSchema.default({}),
  importedAttributes: jsonAttributesSchema
    .optional()
    .describe("What ImportedValue reads; when left out, the attributes."),
  parameters: jsonParametersSchema.default({}),
  language: z.enum(["aadc", "mim"]).default("aadc"),
});

/** Rule files that are only tried out; the file's name stands in front of its problems. */
export const ruleTextsSchema = z
  .array(z.strictObject({ file: z.string().regex(/^[\w. /-]{1,200}$/), text: z.string() }))
  .min(1)
  .max(1000);

export const previewSchema = z.strictObject({
  connector: z.string().min(1),
  anchor: z.string().min(1),
  kind: z.enum(["full", "delta"]).default("full"),
  rules: ruleTextsSchema.optional(),
});

export const rulesDiffSchema = z.strictObject({ rules: ruleTextsSchema });

export const holdSchema = z.strictObject({
  why,
  until: z.iso
    .datetime({ offset: true })
    // Times are compared as text, which needs years of four digits in UTC too.
    .refine((text) => /^\d/.test(new Date(text).toISOString()), "is beyond the year 9999")
    .nullable()
    .default(null),
});

export const activateRulesSchema = z.strictObject({ why: why.optional() });

export const putRuleSchema = z.strictObject({
  text: z.string().min(1).max(1_000_000).describe("The rule as YAML, as a file of config/rules has it."),
  why,
});
