import type { Server } from '../main.ts';

/** BLAKE3("hello world"): what the printed lines sign. */
const helloWorldB3 = 'd74981efa70a0c880b8d8c1985d075dbcbf679b99a5f9914e5aaf96b831a9e24';

/** Three lines to copy into a shell: a newcomer's first key, signature and verification, with nothing but curl. */
export function firstSteps({ urls, administratorToken, administratorFile }: FirstStepsOf): string {
  const token = administratorToken ?? `$(cat ${administratorFile})`;
  const post = `curl -s -H "Authorization: Bearer ${token}" ${curlTo(urls)}/v1/kms`;
  return `
Create a key, sign BLAKE3("hello world"), verify:

  KID=$(${post}/keys -d '{"purpose":"demo","alg":"ml-dsa-65"}' | sed 's/.*"kid":"\\([^"]*\\)".*/\\1/'); echo $KID
  SIG=$(${post}/sign -d "{\\"kid\\":\\"$KID\\",\\"payload_b3\\":\\"${helloWorldB3}\\"}" | sed 's/.*"signature_b64":"\\([^"]*\\)".*/\\1/'); echo "signed: $(echo $SIG | cut -c1-40)..."
  ${post}/verify -d "{\\"payload_b3\\":\\"${helloWorldB3}\\",\\"sigs\\":[{\\"kid\\":\\"$KID\\",\\"signature_b64\\":\\"$SIG\\"}]}"

`;
}

/** Plain HTTP where it is served; else the first listener. The authority of a certificate is the reader's to name. */
function curlTo(urls: FirstStepsOf['urls']): string {
  const url = urls.find((each) => each.startsWith('http:')) ?? urls[0];
  if (url.startsWith('unix:')) return `--unix-socket ${url.slice(5)} http://localhost`;
  return url.startsWith('https:') ? `--cacert ca.pem ${url}` : url;
}

type FirstStepsOf = Pick<Server, 'urls' | 'administratorToken' | 'administratorFile'>;
