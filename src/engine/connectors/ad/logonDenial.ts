/**
 * Membership in the group whose members may not log on interactively (docs/kerberos.md). The group's policy denies the
 * logon; the connector sees to it that every account that it creates or changes is a member. It takes nobody out.
 */
import { dnKey } from "../../core/values.ts";
import type { ExportResult } from "../../ports/connector.ts";
import { type ExportScope, failed, isRefusal, RefusedWrite, write } from "./exportScope.ts";
import { resultCode } from "./ldapErrors.ts";
import type { LdapEntry } from "./ldapMessages.ts";

/** To be read of an account, so that `denyLogon` can tell whether it is a member. */
export const membershipAttributes = ({ denyLogonGroup }: ExportScope): readonly string[] =>
  denyLogonGroup === undefined ? [] : ["memberOf"];

/** A member that is one already: Active Directory's answer, and the one of the standard. */
const alreadyMember = [resultCode.entryAlreadyExists, resultCode.attributeOrValueExists];

/**
 * @param account as it was read; a new one is a member of no group
 * @returns what went wrong, undefined when the account is a member
 */
export async function denyLogon(
  scope: ExportScope,
  dn: string,
  account?: LdapEntry,
): Promise<Extract<ExportResult, { kind: "failed" }> | undefined> {
  const { denyLogonGroup: group } = scope;
  if (group === undefined) return undefined;
  const groups = account?.attributes.get("memberof") ?? [];
  if (groups.some((one) => dnKey(one.toString("utf8")) === dnKey(group))) return undefined;
  const change = { operation: "add", name: "member", values: [Buffer.from(dn, "utf8")] } as const;
  try {
    await write(scope, "modify", group, (client) => client.modify(group, [change]));
  } catch (error) {
    if (isRefusal(error, alreadyMember)) return undefined;
    if (!(error instanceof RefusedWrite)) throw error;
    const missing = error.refused.code === resultCode.noSuchObject;
    return failed(
      missing ? "dn-attributes-failure" : "permission-issue",
      missing
        ? `${dn}: the group of DENY_LOGON_GROUP (${group}) does not exist, so the account is not denied to log on. Create it, or correct the setting.`
        : `${dn}: it cannot be made a member of ${group} (${error.refused.message}). Let the account of AD_BIND_DN write member of that group: infra/ad/Grant-VestibuleRights.ps1 -DenyLogonGroup.`,
    );
  }
  return undefined;
}
