import type { AttributeChange } from "../../core/model.ts";
import { parentDn, parseDn, valuesOf } from "../../core/values.ts";
import { isAccount } from "./exportScope.ts";
import type { AdObjectType } from "./schema.ts";

/** Why Active Directory would refuse a change, found before it is sent. `code`: SEMANTICS 2.11 (export). */
export interface Violation {
  readonly code:
    | "invalid-dn"
    | "invalid-attribute-value"
    | "constraint-violation"
    | "modify-naming-attribute";
  readonly message: string;
}

/** Longest account name of a user (the schema says 256, the directory enforces 20). [MS-SAMR] 3.1.1.6 */
const accountNameMax = 20;
const accountNameForbidden = /["/\\[\]:;|=,+*?<>@]/;
const commonNameMax = 64;

/** The first rule of Active Directory that the wanted values break; Samba does not enforce all of them. */
export function namingViolation(
  type: AdObjectType,
  changes: readonly AttributeChange[],
  newDn: string | undefined,
): Violation | undefined {
  if (newDn !== undefined) {
    const violation = dnViolation(newDn);
    if (violation !== undefined) return violation;
  }
  for (const { name, after } of changes) {
    const lower = name.toLowerCase();
    const [value] = valuesOf(after);
    if (lower === "samaccountname" && typeof value === "string" && isAccount(type)) {
      const violation = accountNameViolation(value);
      if (violation !== undefined) return { code: "invalid-attribute-value", message: violation };
    }
    const violation = lengthViolation(type, lower, valuesOf(after));
    if (violation !== undefined) return violation;
  }
  return undefined;
}

function accountNameViolation(name: string): string | undefined {
  const said = `sAMAccountName "${name}"`;
  if (name.length > accountNameMax)
    return `${said} has ${name.length} characters, at most ${accountNameMax} are allowed`;
  const forbidden = accountNameForbidden.exec(name)?.[0];
  if (forbidden !== undefined)
    return `${said} contains the character ${forbidden}, which is not allowed in it`;
  if (hasControlCharacter(name)) return `${said} contains a control character`;
  if (name.endsWith(".")) return `${said} ends with a full stop`;
  if (/^[. ]*$/.test(name)) return "sAMAccountName consists of spaces and full stops only, or of nothing";
  return undefined;
}

function dnViolation(dn: string): Violation | undefined {
  const invalid = (message: string): Violation => ({ code: "invalid-dn", message });
  let rdn: { readonly type: string; readonly value: string } | undefined;
  try {
    const [first] = parseDn(dn);
    if (first !== undefined && first.length > 1)
      return invalid(`${dn}: a name of several attributes is not allowed`);
    rdn = first?.[0];
    parseDn(parentDn(dn));
  } catch (error) {
    return invalid((error as TypeError).message);
  }
  if (rdn === undefined || rdn.value === "") return invalid(`${JSON.stringify(dn)} has no name`);
  if (rdn.value.length > commonNameMax) {
    return invalid(
      `${dn}: the name has ${rdn.value.length} characters, at most ${commonNameMax} are allowed`,
    );
  }
  // A line feed and a zero byte mark deleted and conflicting objects.
  if (hasControlCharacter(rdn.value)) return invalid(`${dn}: the name contains a control character`);
  return undefined;
}

function hasControlCharacter(text: string): boolean {
  return [...text].some((character) => character < " " || character === "\x7f");
}

function lengthViolation(
  type: AdObjectType,
  lowerName: string,
  values: ReturnType<typeof valuesOf>,
): Violation | undefined {
  const attribute = type.attributes.get(lowerName);
  if (attribute === undefined) return undefined;
  const { name, rangeUpper } = attribute;
  for (const value of values) {
    if (value === "") {
      return {
        code: "invalid-attribute-value",
        message: `${name} is an empty text; an absent value is meant by no value`,
      };
    }
    if (rangeUpper === undefined || attribute.writeOnly === true) continue;
    const length = typeof value === "string" || value instanceof Uint8Array ? value.length : 0;
    if (length > rangeUpper) {
      const unit = typeof value === "string" ? "characters" : "bytes";
      return {
        code: "constraint-violation",
        message: `${name} has ${length} ${unit}, at most ${rangeUpper} are allowed`,
      };
    }
  }
  return undefined;
}
