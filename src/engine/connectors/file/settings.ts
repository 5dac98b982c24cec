/** What an operator says of one file of records. */
import { z } from "zod";

const attributeType = z.enum(["string", "integer", "boolean", "binary", "dateTime", "reference"]);

export const fileSettingsSchema = z.strictObject({
  /** The file, which somebody else replaces as a whole: a share that the function app mounts, or a local folder. */
  path: z.string().min(1, { error: "path is empty: name the file, for example %HR_FILE%" }),
  format: z.enum(["csv", "ldif"]),
  /** The attribute that identifies a record for ever: an employee's number. */
  anchor: z.string().min(1),
  /** CSV: the attribute that names a record for people and in references; the anchor unless said. LDIF has its own. */
  dn: z.string().min(1).optional(),
  /** With several object types: the attribute that tells them. LDIF's is objectClass. */
  typeAttribute: z.string().min(1).optional(),
  /** Everything else is text. Binary values stand in base64, times as ISO 8601. */
  types: z.record(z.string(), attributeType).default({}),
  multiValued: z.array(z.string()).default([]),
  /** CSV: between the cells of a row. */
  delimiter: z
    .string()
    .regex(/^[^"\r\n]$/, { error: "delimiter must be one character" })
    .default(","),
  /** CSV: between the values of a multi-valued attribute in its cell. */
  listSeparator: z.string().min(1).default(";"),
  encoding: z.enum(["utf-8", "utf-16le", "windows-1252"]).default("utf-8"),
  /**
   * A folder for copies of the file as it was at the last imports; with it there are delta imports. The copies hold
   * what the file holds, so it needs the same protection.
   */
  snapshots: z.string().min(1).optional(),
  /** Whether exports may rewrite the file. A feed that somebody else produces is not ours to write. */
  writable: z.boolean().default(false),
  /** A file that was written a moment ago may not be whole yet. */
  settleSeconds: z.number().min(0).max(60).default(2),
  pageSize: z.int().min(1).max(10_000).default(1000),
});

export type FileSettings = z.output<typeof fileSettingsSchema>;
