/** What the writes of one batch have in common. */
import type { AttributeChange } from "../../core/model.ts";
import { dnKey, escapeRdnValue, isUnder, parentDn, parseDn } from "../../core/values.ts";
import { ConnectorError, type ExportChange, type ExportResult } from "../../ports/connector.ts";
import type { AdClient } from "./adClient.ts";
import type { WriteKind } from "./exportErrors.ts";
import { LdapError, resultCode } from "./ldapErrors.ts";
import type { LdapEntry } from "./ldapMessages.ts";
import type { AdAttribute, AdObjectType, AdSchema } from "./schema.ts";
import { byGuid } from "./values.ts";

export interface ExportScope {
  readonly client: AdClient;
  readonly schema: AdSchema;
  readonly baseDn: string;
  readonly containers: readonly string[];
  readonly stampAttribute: string;
  readonly randomPassword: boolean;
  /** DN of the group that accounts are made members of. */
  readonly denyLogonGroup: string | undefined;
  /** Of the forest, when the connector has one. */
  readonly globalCatalog: AdClient | undefined;
  /** Asked right before each write. */
  mayWrite(): boolean;
}

export type Failed = Extract<ExportResult, { kind: "failed" }>;

export function failed(code: string, message: string): Failed {
  return { kind: "failed", code, message };
}

export class RefusedWrite extends Error {
  readonly refused: LdapError;
  readonly kind: WriteKind;
  readonly dn: string;

  constructor(refused: LdapError, kind: WriteKind, dn: string) {
    super(refused.message, { cause: refused });
    this.refused = refused;
    this.kind = kind;
    this.dn = dn;
  }
}

/** Every write goes through here. @throws RefusedWrite, ConnectorError */
export async function write(
  scope: ExportScope,
  kind: WriteKind,
  dn: string,
  send: (client: AdClient) => Promise<void>,
): Promise<void> {
  if (!scope.mayWrite()) {
    throw new ConnectorError(
      "unreachable",
      "The time for this batch of exports is over; the rest is sent later.",
    );
  }
  try {
    await send(scope.client);
  } catch (error) {
    throw error instanceof LdapError ? new RefusedWrite(error, kind, dn) : error;
  }
}

export function isRefusal(error: unknown, codes: readonly number[]): boolean {
  return error instanceof RefusedWrite && codes.includes(error.refused.code);
}

/** Somebody has the name already. */
export const duplicateCodes = [resultCode.entryAlreadyExists, resultCode.constraintViolation];
/** The value to delete is gone, or there is one where none was. */
export const changedMeanwhileCodes = [resultCode.noSuchAttribute, resultCode.attributeOrValueExists];

/** Accounts have a password: users and the types derived from them. */
export const isAccount = (type: AdObjectType) => ["user", "inetorgperson"].includes(type.name.toLowerCase());

export function isNameOrPassword(type: AdObjectType, attribute: AdAttribute): boolean {
  return (
    attribute.writeOnly === true ||
    [type.rdnAttribute, "distinguishedname"].includes(attribute.name.toLowerCase())
  );
}

export function attributeOf(type: AdObjectType, name: string): AdAttribute {
  const attribute = type.attributes.get(name.toLowerCase());
  if (attribute === undefined) throw new TypeError(`${name} is not an attribute of the connector`);
  return attribute;
}

export const rawValues = (entry: LdapEntry, name: string) => entry.attributes.get(name.toLowerCase()) ?? [];

export function readForUpdate(
  { client }: ExportScope,
  type: AdObjectType,
  target: string,
  changes: readonly AttributeChange[],
  more: readonly string[] = [],
): Promise<LdapEntry | undefined> {
  const readable = changes
    .filter(({ name }) => attributeOf(type, name).writeOnly !== true)
    .map(({ name }) => name);
  return client.read(target, ["objectGUID", ...new Set([...readable, ...more])]);
}

/** Renames or moves where the DN differs. @returns the DN as the directory spells it. */
export async function rename(
  scope: ExportScope,
  anchor: string,
  presentDn: string,
  newDn: string,
): Promise<string> {
  const [rdn] = parseDn(newDn)[0] ?? [];
  if (rdn === undefined) throw new TypeError("the new DN is empty");
  const sameName = parseDn(presentDn)[0]?.[0]?.value === rdn.value; // case counts: a rename may change nothing else
  if (sameName && dnKey(presentDn) === dnKey(newDn)) return presentDn;
  const newRdn = `${rdn.type}=${escapeRdnValue(rdn.value)}`;
  const superior = parentDn(newDn);
  await write(scope, "rename", presentDn, (client) => client.modifyDn(byGuid(anchor), newRdn, superior));
  return (await scope.client.read(byGuid(anchor), []))?.dn ?? newDn;
}

export function outsideOfScope(dn: string, { containers }: ExportScope): Failed {
  return failed(
    "invalid-dn",
    `${dn}: it lies outside of the connector's OUs (${containers.join("; ")}). Correct the flow that forms the DN, or GUEST_OU.`,
  );
}

export function movedOutOfScope(change: ExportChange, dn: string): Failed {
  const what = isUnder(dn, change.dn) ? "" : ` was moved to ${dn},`;
  return failed(
    "cd-missing-object",
    `${change.dn}:${what} outside of the connector's OUs. It is left alone; move it back if it shall be managed.`,
  );
}
