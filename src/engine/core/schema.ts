/** What the pure steps ask of a directory's schema. */
import type { ObjectTypeSchema, SchemaAttribute } from "../ports/connector.ts";
import type { Syntax } from "./values.ts";

export interface Syntaxes {
  /** Whether the directory has told its schema. */
  readonly known: boolean;
  /** Undefined while the directory has not been reached. */
  attribute(name: string): SchemaAttribute | undefined;
  syntax(name: string): Syntax;
  /** What is written never comes back as it was: it is sent when an object is created, and not compared. */
  writeOnly(name: string): boolean;
}

/** The attributes of one object type; what the schema does not know compares as directory strings do. */
export function syntaxesOf(schemas: readonly ObjectTypeSchema[], objectType: string): Syntaxes {
  const attributes = schemas.find((schema) => schema.name === objectType)?.attributes;
  return {
    known: attributes !== undefined,
    attribute: (name) => attributes?.get(name),
    syntax: (name) => attributes?.get(name)?.syntax ?? "caseIgnore",
    writeOnly: (name) => {
      const { writeOnly = false, neverConfirmed = false } = attributes?.get(name) ?? {};
      return writeOnly || neverConfirmed;
    },
  };
}
