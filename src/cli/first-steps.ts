import type { Server } from '../main.ts';

/** BLAKE3("hello world"): what the printed lines sign. */
const helloWorldB3 = 'd74981efa70a0c880b8d8c1985d075dbcbf679b99a5f9914e5aaf96b831a9e24';

/** Three lines to copy into a shell: a newcomer's first key, signature and verification, with nothing but curl. */
export function firstSteps({ url, administratorToken, administratorFile }: FirstStepsOf): string {
  const token = administratorToken ?? `$(cat ${administratorFile})`;
  const post = `curl -s -H "Authorization: Bearer ${token}" ${url}/v1/kms`;
  return `
Create a key, sign BLAKE3("hello world"), verify:

  KID=$(${post}/keys -d '{"purpose":"demo","alg":"ml-dsa-65"}' | sed 's/.*"kid":"\\([^"]*\\)".*/\\1/'); echo $KID
  SIG=$(${post}/sign -d "{\\"kid\\":\\"$KID\\",\\"payload_b3\\":\\"${helloWorldB3}\\"}" | sed 's/.*"signature_b64":"\\([^"]*\\)".*/\\1/'); echo "signed: $(echo $SIG | cut -c1-40)..."
  ${post}/verify -d "{\\"payload_b3\\":\\"${helloWorldB3}\\",\\"sigs\\":[{\\"kid\\":\\"$KID\\",\\"signature_b64\\":\\"$SIG\\"}]}"

`;
}

type FirstStepsOf = Pick<Server, 'url' | 'administratorToken' | 'administratorFile'>;
