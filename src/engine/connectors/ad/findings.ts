/** How the examination of a domain tells what it found. */
import type { Finding } from "../../ports/connector.ts";
import { ConnectorError } from "../../ports/connector.ts";
import { LdapError } from "./ldapErrors.ts";

export const ok = (what: string, message: string): Finding => ({ what, status: "ok", message });

/** What went wrong becomes the finding. */
export async function told(what: string, work: () => Promise<Finding>): Promise<Finding> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof ConnectorError) return { what, status: "failed", message: error.message };
    if (error instanceof LdapError) {
      const remedy = "The account needs read on the domain, as every authenticated user has it.";
      return { what, status: "failed", message: error.message, remedy };
    }
    throw error;
  }
}
