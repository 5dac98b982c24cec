/**
 * The guest recipe's rules extension (its option 2, an extension DLL): it makes the account name, the account and its
 * place. The three mistakes of the DLL are mended: it cut the account name to 19 characters and misspelt the attribute
 * where there was nothing to cut; it made passwords with System.Random of an alphabet with gaps, where the AD
 * connector makes one nobody knows, anew for each attempt; and it left pwdLastSet out, which its description promised.
 */
import type { ConnectorExtension, MetaverseExtension } from "#extension";

/** Longest sAMAccountName of a user. [MS-SAMR] 3.1.1.6 */
const accountNameMax = 20;

export const connector: ConnectorExtension = {
  mapAttributesForImport(flowRuleName, csentry) {
    switch (flowRuleName) {
      case "cd.user:id->mv.person:accountName": {
        const { id } = csentry.attributes;
        return typeof id === "string" ? id.slice(0, accountNameMax) : null;
      }
      default:
        throw new Error(`There is no flow rule "${flowRuleName}" here.`);
    }
  },
};

export const metaverse: MetaverseExtension = {
  provision(mventry, { escapeDNComponent }) {
    const { uid, accountName, ou, employeeType } = mventry.attributes;
    if (typeof uid !== "string" || accountName === undefined || typeof ou !== "string") return [];
    if (employeeType !== "Guest") return [];
    const dn = `${escapeDNComponent(`CN=${uid}`)},${ou}`;
    const { ADMA = [] } = mventry.connectors;
    // As the DLL does it: an account that somebody has moved comes back.
    if (ADMA.length > 0) return [{ kind: "rename", connector: "ADMA", dn }];
    return [
      {
        kind: "connect",
        connector: "ADMA",
        objectType: "user",
        dn,
        // Set now, as the password is. All other values, the account name too, are flowed by rule AD-B2B-OUT.
        attributes: { pwdLastSet: -1 },
      },
    ];
  },
};
