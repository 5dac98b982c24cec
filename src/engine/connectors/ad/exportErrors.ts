import { type LdapError, resultCode } from "./ldapErrors.ts";

/** What was tried when the directory refused. */
export type WriteKind = "add" | "modify" | "rename" | "delete";

interface Refusal {
  /** One of SEMANTICS 2.11 (export). */
  readonly code: string;
  /** Whole sentences: what it means and what to do. */
  readonly remedy: string;
}

/** Win32 errors in Active Directory's messages that say more than the LDAP code. [MS-ERREF] 2.2 */
const byWindowsError: Readonly<Record<string, Refusal>> = {
  "00000523": {
    code: "invalid-attribute-value",
    remedy: "The account name is not one that Windows allows. Correct the flow to sAMAccountName.",
  },
  "00000524": {
    code: "cd-existing-object",
    remedy: "Another account of the domain has the account name. Rename or remove it, or let it join.",
  },
  "0000052D": {
    code: "password-policy-violation",
    remedy:
      "The password breaks the domain's password policy. A random password is long enough for any; look for a password filter on the domain controllers or for a minimum password age.",
  },
  "000020B5": {
    code: "dn-attributes-failure",
    remedy: "An attribute refers to an object that is not there. It is sent again once that object exists.",
  },
  "0000216D": {
    code: "cd-error",
    remedy:
      "The account of AD_BIND_DN has used up its quota of objects. Delegate the creation on the OU, which has none.",
  },
  "000021C7": {
    code: "cd-existing-object",
    remedy: "Another object of the forest has the service principal name. Remove it there.",
  },
  "000021C8": {
    code: "cd-existing-object",
    remedy:
      "Another object of the forest has the user principal name. Free it there; it is never altered here.",
  },
};

/** What is not here is about the directory as a whole (`directoryFailure`), a missing object or parent, or `other`. */
const byCode: Readonly<Record<number, Refusal>> = {
  [resultCode.sizeLimitExceeded]: {
    code: "cd-error",
    remedy: "A limit of the directory was exceeded. Look at its LDAP policies (MaxPageSize, MaxValRange).",
  },
  [resultCode.referral]: {
    code: "cd-error",
    remedy:
      "The object belongs to another domain. Give that domain a connector of its own, or correct the DN in the rule.",
  },
  [resultCode.unavailableCriticalExtension]: {
    code: "cd-error",
    remedy: "The server does not know what it was asked to observe. AD_URL must lead to a domain controller.",
  },
  [resultCode.noSuchAttribute]: {
    code: "schema-violation",
    remedy:
      "The object has not the attribute or the value that was to be removed, or the schema has not the attribute. The next import and synchronisation decide anew.",
  },
  [resultCode.undefinedAttributeType]: {
    code: "schema-violation",
    remedy: "The directory's schema has no such attribute. Correct the attribute in the rule.",
  },
  [resultCode.inappropriateMatching]: {
    code: "schema-violation",
    remedy:
      "The attribute's values cannot be compared, so single ones cannot be removed. Replace it as a whole.",
  },
  [resultCode.constraintViolation]: {
    code: "constraint-violation",
    remedy: "A value breaks a limit of the directory. Correct the flow or the value at its source.",
  },
  [resultCode.attributeOrValueExists]: {
    code: "constraint-violation",
    remedy: "An attribute takes one value only, or has this value already.",
  },
  [resultCode.invalidAttributeSyntax]: {
    code: "invalid-attribute-value",
    remedy: "A value has not the form that its attribute wants. Correct the flow.",
  },
  [resultCode.aliasProblem]: {
    code: "cd-error",
    remedy: "The name leads through an alias. Give the object's own DN.",
  },
  [resultCode.aliasDereferencingProblem]: {
    code: "cd-error",
    remedy: "The name leads through an alias. Give the object's own DN.",
  },
  [resultCode.invalidDnSyntax]: { code: "invalid-dn", remedy: "Correct the flow that forms the DN." },
  [resultCode.insufficientAccessRights]: {
    code: "permission-issue",
    remedy:
      "The account of AD_BIND_DN lacks a right. Delegate it on the OU: create and delete user objects, write the attributes of the rules, reset passwords.",
  },
  [resultCode.unwillingToPerform]: {
    code: "cd-error",
    remedy:
      "The directory does not do this on principle: a read-only or computed attribute, or a rule of its own.",
  },
  [resultCode.namingViolation]: {
    code: "invalid-dn",
    remedy: "The name does not fit the object type or its parent. Correct the flow that forms the DN.",
  },
  [resultCode.objectClassViolation]: {
    code: "schema-violation",
    remedy: "An attribute does not belong to the object type, or one that it must have is missing.",
  },
  [resultCode.notAllowedOnNonLeaf]: {
    code: "cd-error",
    remedy: "The object has objects below it. Remove them first; they are never deleted along with it.",
  },
  [resultCode.notAllowedOnRdn]: {
    code: "modify-naming-attribute",
    remedy: "The attribute is the object's name. Flow to the DN instead.",
  },
  [resultCode.entryAlreadyExists]: {
    code: "cd-existing-object",
    remedy:
      "Another object has the DN, the account name or the user principal name. Rename or remove it, or join it.",
  },
  [resultCode.objectClassModsProhibited]: {
    code: "schema-violation",
    remedy: "The type of an object cannot be changed.",
  },
  [resultCode.affectsMultipleDsas]: {
    code: "cd-error",
    remedy: "An object is not moved to another domain. Give the OU of this domain in the DN.",
  },
  [resultCode.adminLimitExceeded]: {
    code: "cd-error",
    remedy:
      "A limit of the directory was exceeded (attribute or object too large, or the quota of the account).",
  },
};

/** The result of a refused write: the engine's code, and the object, what the directory said, and the remedy. */
export function refusal(
  error: LdapError,
  kind: WriteKind,
  dn: string,
): { kind: "failed"; code: string; message: string } {
  const { code, remedy } = classify(error, kind);
  return { kind: "failed", code, message: `${dn}: ${error.message.replace(/[.!\s]+$/, "")}. ${remedy}` };
}

function classify(error: LdapError, kind: WriteKind): Refusal {
  const special = byWindowsError[error.windowsError];
  if (special !== undefined) return special;
  const missing = error.code === resultCode.noSuchObject;
  // Samba answers with 80 when the new parent of a move is missing.
  const missingParent =
    (missing && (kind === "add" || kind === "rename")) ||
    (kind === "rename" && error.code === resultCode.other);
  if (missingParent) {
    return {
      code: "non-existent-parent",
      remedy: "The OU in the DN does not exist. Create it, or correct the DN in the rule or GUEST_OU.",
    };
  }
  if (missing) {
    return {
      code: "cd-missing-object",
      remedy: "It was deleted in the directory. The next import and synchronisation decide anew.",
    };
  }
  return (
    byCode[error.code] ?? {
      code: "cd-error",
      remedy: "The directory gives no better reason. Its event log may say more.",
    }
  );
}
