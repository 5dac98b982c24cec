import type { AttributeChange } from "../../core/model.ts";
import {
  type AttributeValue,
  attributesEqual,
  comparisonKey,
  parentDn,
  type Value,
  valuesOf,
} from "../../core/values.ts";
import type { ExportChange, ExportResult } from "../../ports/connector.ts";
import type { RawChange } from "./adClient.ts";
import { anchorOf, isInScope } from "./entries.ts";
import { AddOperation } from "./exportAdd.ts";
import { refusal } from "./exportErrors.ts";
import {
  attributeOf,
  changedMeanwhileCodes,
  duplicateCodes,
  type ExportScope,
  type Failed,
  failed,
  isAccount,
  isNameOrPassword,
  isRefusal,
  movedOutOfScope,
  outsideOfScope,
  RefusedWrite,
  rawValues,
  readForUpdate,
  rename,
  write,
} from "./exportScope.ts";
import { LdapError, resultCode } from "./ldapErrors.ts";
import { denyLogon, membershipAttributes } from "./logonDenial.ts";
import { holdersOf, namesOf } from "./nameHolders.ts";
import { namingViolation } from "./namingRules.ts";
import type { AdAttribute, AdObjectType } from "./schema.ts";
import { byGuid, decodeAttribute, encodeAttribute, encodePassword, encodeValue } from "./values.ts";

/**
 * Sends one change. Each can be sent twice: an update and a delete look at the object before they write, so they
 * send what is missing, hit an object that was renamed by hand, and spare one that was moved out of scope.
 * @param meetsHolder somebody was seen to have one of the names that the change gives
 * @throws ConnectorError when the directory fails; whether the change was done is then unknown.
 */
export async function exportChange(
  scope: ExportScope,
  change: ExportChange,
  meetsHolder: boolean,
): Promise<ExportResult> {
  const type = scope.schema.get(change.objectType);
  if (type === undefined) {
    return failed("schema-violation", `${change.dn}: the connector has no object type ${change.objectType}.`);
  }
  try {
    switch (change.change) {
      case "add":
        return await new AddOperation(scope, type, change, meetsHolder).run();
      case "update":
        return await update(scope, type, change, meetsHolder);
      case "delete":
        return await remove(scope, change);
    }
  } catch (error) {
    // A value of the wrong type, told without the value.
    if (error instanceof TypeError)
      return failed("invalid-attribute-value", `${change.dn}: ${error.message}.`);
    if (error instanceof RefusedWrite) return refusal(error.refused, error.kind, error.dn);
    if (error instanceof LdapError) return refusal(error, "modify", change.dn);
    throw error;
  }
}

// ---- update ----------------------------------------------------------------------------------------------------

async function update(
  scope: ExportScope,
  type: AdObjectType,
  change: ExportChange,
  meetsHolder: boolean,
): Promise<ExportResult> {
  const violation = namingViolation(type, change.attributes, change.newDn);
  if (violation !== undefined) return failed(violation.code, `${violation.message} (${change.dn}).`);
  if (change.newDn !== undefined && !isInScope(parentDn(change.newDn), scope.containers)) {
    return outsideOfScope(change.newDn, scope);
  }
  const target = change.anchor === null ? change.dn : byGuid(change.anchor);
  const present = await readForUpdate(scope, type, target, change.attributes, membershipAttributes(scope));
  const anchor = present && anchorOf(present);
  if (present === undefined || anchor === undefined) {
    return failed(
      "cd-missing-object",
      `${change.dn}: it is not in the directory any more. The next import and synchronisation decide anew.`,
    );
  }
  if (!isInScope(present.dn, scope.containers)) return movedOutOfScope(change, present.dn);

  const changes: RawChange[] = [];
  for (const one of change.attributes) {
    const delta = attributeDelta(attributeOf(type, one.name), one, rawValues(present, one.name), type);
    if (delta === "stale") return changedByOthers(present.dn, one.name);
    changes.push(...delta);
  }
  const taken = meetsHolder ? await takenName(scope, change, anchor) : undefined;
  if (taken !== undefined) return taken;
  if (changes.length > 0) {
    try {
      await write(scope, "modify", present.dn, (client) => client.modify(byGuid(anchor), changes));
    } catch (error) {
      if (isRefusal(error, changedMeanwhileCodes))
        return changedByOthers(present.dn, changes.map(({ name }) => name).join(", "));
      const taken = isRefusal(error, duplicateCodes) ? await takenName(scope, change, anchor) : undefined;
      if (taken === undefined) throw error;
      return taken;
    }
  }
  const dn = change.newDn === undefined ? present.dn : await rename(scope, anchor, present.dn, change.newDn);
  return (
    (isAccount(type) ? await denyLogon(scope, dn, present) : undefined) ?? { kind: "exported", anchor, dn }
  );
}

/** Who has a name that the change would give; undefined when nobody has, and the refusal has another reason. */
async function takenName(
  scope: ExportScope,
  { dn, attributes }: ExportChange,
  anchor: string,
): Promise<Failed | undefined> {
  for (const wanted of namesOf({ attributes })) {
    const holder = (await holdersOf(scope, [wanted])).find((entry) => anchorOf(entry) !== anchor);
    if (holder === undefined) continue;
    return failed(
      "cd-existing-object",
      `${dn}: ${holder.dn} has the same ${wanted.name}. Nothing was written. Free it there: it is never altered here.`,
    );
  }
  return undefined;
}

/**
 * Attributes that the account manager of a domain controller owns. It knows only their replacement for certain, and
 * takes one value of those that the schema calls multi-valued. [MS-SAMR] 3.1.1.3 to 3.1.1.8
 */
const replacedAttributes: ReadonlySet<string> = new Set([
  "accountexpires",
  "comment",
  "description",
  "homedirectory",
  "homedrive",
  "logonhours",
  "primarygroupid",
  "profilepath",
  "pwdlastset",
  "samaccountname",
  "scriptpath",
  "useraccountcontrol",
  "userworkstations",
]);

/**
 * What is missing for `change`, as exact deltas:
 *
 *   the present value is the wanted one ──► nothing
 *   one value ──► delete what is there, add what is wanted: refused if it changes in between. Where the directory
 *                 takes a replacement only, the look just before has to do
 *   several values ──► add and delete the values that differ; what others did meanwhile stays
 *   neither the known nor the wanted value is there ──► stale: somebody else wrote, and the import has not seen it
 */
export function attributeDelta(
  attribute: AdAttribute,
  change: AttributeChange,
  present: readonly Buffer[],
  type: AdObjectType,
): RawChange[] | "stale" {
  const { name, before, after } = change;
  if (attribute.writeOnly === true) {
    const [password] = valuesOf(after);
    if (typeof password !== "string") throw new TypeError(`${name} takes a text`);
    return [{ operation: "replace", name, values: [encodePassword(password)] }];
  }
  if (isNameOrPassword(type, attribute)) return []; // the rename sets it
  const replaced = replacedAttributes.has(name.toLowerCase());
  if (attribute.multiValued && !replaced) return valuesDelta(attribute, name, before, after, present);

  const value = decodeAttribute(attribute, present);
  // An exact comparison: a change of case alone is wanted too.
  if (attributesEqual(value, after, attribute.type === "reference" ? "dn" : "exact")) return [];
  if (!attributesEqual(value, before, attribute.syntax) && !attributesEqual(value, after, attribute.syntax)) {
    return "stale";
  }
  const added = encodeAttribute(attribute, after);
  if (replaced && added.length > 0) return [{ operation: "replace", name, values: added }];
  const changes: RawChange[] = [];
  if (present.length > 0) changes.push({ operation: "delete", name, values: present });
  if (added.length > 0) changes.push({ operation: "add", name, values: added });
  return changes;
}

function valuesDelta(
  attribute: AdAttribute,
  name: string,
  before: AttributeValue | undefined,
  after: AttributeValue | undefined,
  present: readonly Buffer[],
): RawChange[] {
  const keyed = (values: readonly Value[]) =>
    new Map(values.map((value) => [comparisonKey(value, attribute.syntax), value]));
  const [known, wanted] = [keyed(valuesOf(before)), keyed(valuesOf(after))];
  const there = keyed(valuesOf(decodeAttribute(attribute, present)));
  const added = [...wanted]
    .filter(([key]) => !there.has(key))
    .map(([, value]) => encodeValue(attribute, value));
  const removed = [...there]
    .filter(([key]) => known.has(key) && !wanted.has(key))
    .map(([, value]) => encodeValue(attribute, value));
  const changes: RawChange[] = [];
  if (removed.length > 0) changes.push({ operation: "delete", name, values: removed });
  if (added.length > 0) changes.push({ operation: "add", name, values: added });
  return changes;
}

function changedByOthers(dn: string, attributes: string): Failed {
  return failed(
    "cd-error",
    `${dn}: ${attributes} was changed in the directory since the last import. Nothing was overwritten; the next import and synchronisation decide anew.`,
  );
}

// ---- delete ----------------------------------------------------------------------------------------------------

async function remove(scope: ExportScope, change: ExportChange): Promise<ExportResult> {
  const target = change.anchor === null ? change.dn : byGuid(change.anchor);
  const present = await scope.client.read(target, ["objectGUID"]);
  const anchor = (present && anchorOf(present)) ?? change.anchor ?? "";
  const gone: ExportResult = { kind: "exported", anchor, dn: present?.dn ?? change.dn };
  if (present === undefined) return gone;
  if (!isInScope(present.dn, scope.containers)) return movedOutOfScope(change, present.dn);
  try {
    await write(scope, "delete", present.dn, (client) => client.delete(byGuid(anchor)));
  } catch (error) {
    if (!isRefusal(error, [resultCode.noSuchObject])) throw error;
  }
  return gone;
}
