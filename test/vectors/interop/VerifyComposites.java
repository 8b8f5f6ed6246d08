import java.io.*;
import java.security.*;
import java.security.spec.X509EncodedKeySpec;
import java.util.Base64;
import org.bouncycastle.jcajce.spec.ContextParameterSpec;
import org.bouncycastle.jce.provider.BouncyCastleProvider;

/**
 * Verifies composite signatures with BouncyCastle, and makes its own. Lines of standard input: name, SubjectPublicKeyInfo, message,
 * context, signature, and `ok` or `bad`; all but the name in base64, `-` for none. Its own signatures go to standard output as lines of
 * the same form. Exit status 1 where a verdict is another than expected.
 */
public class VerifyComposites {
  static final Base64.Decoder BASE64 = Base64.getDecoder();

  public static void main(String[] arguments) throws Exception {
    Security.addProvider(new BouncyCastleProvider());
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
    int checked = 0;
    int wrong = 0;
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      String[] fields = line.split(" ");
      byte[] message = bytes(fields[2]);
      PublicKey key = KeyFactory.getInstance(fields[0], "BC").generatePublic(new X509EncodedKeySpec(bytes(fields[1])));
      Signature verifier = signature(fields[0], fields[3]);
      verifier.initVerify(key);
      verifier.update(message);
      boolean valid;
      try {
        valid = verifier.verify(bytes(fields[4]));
      } catch (SignatureException malformed) {
        valid = false;
      }
      checked++;
      if (valid != fields[5].equals("ok")) {
        wrong++;
        System.err.println("expected " + fields[5] + ": " + fields[0] + ", line " + checked);
      }
      if (fields[5].equals("ok")) System.out.println(own(fields[0], fields[2], fields[3]));
    }
    System.err.println("BouncyCastle: " + checked + " signatures checked, " + wrong + " verdicts wrong");
    if (wrong > 0 || checked == 0) System.exit(1);
  }

  static String own(String name, String message, String context) throws Exception {
    KeyPair pair = KeyPairGenerator.getInstance(name, "BC").generateKeyPair();
    Signature signer = signature(name, context);
    signer.initSign(pair.getPrivate());
    signer.update(bytes(message));
    Base64.Encoder base64 = Base64.getEncoder();
    String spki = base64.encodeToString(pair.getPublic().getEncoded());
    return String.join(" ", name, spki, message, context, base64.encodeToString(signer.sign()), "ok");
  }

  static Signature signature(String name, String context) throws Exception {
    Signature signature = Signature.getInstance(name, "BC");
    if (!context.equals("-")) signature.setParameter(new ContextParameterSpec(bytes(context)));
    return signature;
  }

  static byte[] bytes(String field) {
    return field.equals("-") ? new byte[0] : BASE64.decode(field);
  }
}
