/** Bearer tokens for Graph: the managed identity's, or a fixed one for sandbox and tests. */
import type { TokenCredential } from "@azure/identity";
import { ConnectorError } from "../../ports/connector.ts";
import type { TokenSource } from "./pipeline.ts";
import type { GraphSettings } from "./settings.ts";

/** The credential renews and caches its tokens itself. */
export function tokenSource(settings: GraphSettings): TokenSource {
  const { accessToken } = settings;
  if (accessToken !== undefined) return () => Promise.resolve(accessToken);
  let credential: Promise<TokenCredential> | undefined;
  return async (claims) => {
    credential ??= newCredential(settings);
    try {
      const token = await (await credential).getToken(
        `${settings.baseUrl}/.default`,
        claims === undefined ? {} : { claims },
      );
      if (token === null) throw new Error("the credential gave no token");
      return token.token;
    } catch (cause) {
      throw tokenFailure(cause as Error);
    }
  };
}

/** Loaded when it is first needed: it is by far the largest part of a cold start. */
async function newCredential(settings: GraphSettings): Promise<TokenCredential> {
  const { DefaultAzureCredential } = await import("@azure/identity");
  return new DefaultAzureCredential({
    ...(settings.authorityHost === undefined ? {} : { authorityHost: settings.authorityHost }),
    ...(settings.clientId === undefined ? {} : { managedIdentityClientId: settings.clientId }),
  });
}

/** Of several credentials that failed, the reason of one that was set up counts; the others are merely absent. */
function tokenFailure(error: Error & { errors?: readonly Error[] }): ConnectorError {
  const cause: Error & { statusCode?: number } =
    error.errors?.find(({ name }) => name !== "CredentialUnavailableError") ?? error;
  const { statusCode = 0 } = cause;
  const firstLine = cause.message.split("\n", 1)[0]!;
  if (statusCode === 429 || statusCode >= 500) {
    return new ConnectorError("unreachable", `The token service answered ${statusCode}: ${firstLine}`, {
      cause,
    });
  }
  return new ConnectorError(
    "access-denied",
    `No token for Graph: ${firstLine} Switch the function app's managed identity on and give it the application ` +
      "permission User.Read.All; GRAPH_ACCESS_TOKEN is for sandbox and tests.",
    { cause },
  );
}
