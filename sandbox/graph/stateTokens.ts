/** Opaque tokens that carry their state: nothing about a client need be remembered, a restart forgets nothing. */

import { createHmac, timingSafeEqual } from "node:crypto";

export interface StateTokens {
  seal(state: object): string;
  /** @returns undefined for a token that this tenant did not make */
  open(token: string): unknown;
}

export function stateTokens(key: string): StateTokens {
  const sign = (text: string) => createHmac("sha256", key).update(text).digest("base64url");
  return {
    seal(state) {
      const text = Buffer.from(JSON.stringify(state)).toString("base64url");
      return `${text}.${sign(text)}`;
    },
    open(token) {
      const [text, signature, ...rest] = token.split(".");
      if (text === undefined || signature === undefined || rest.length > 0) return undefined;
      const expected = Buffer.from(sign(text));
      const given = Buffer.from(signature);
      if (expected.length !== given.length || !timingSafeEqual(expected, given)) return undefined;
      return JSON.parse(Buffer.from(text, "base64url").toString());
    },
  };
}
