//! What the pages say, in English and in Spanish, side by side.
//!
//! A text in braces, such as `{organisation}`, is filled in by [`fill`]. Both columns of every row must be there, or the
//! crate does not build; a test holds their placeholders against each other.

/// A language of the pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lang {
    /// English.
    En,
    /// Spanish.
    Es,
}

impl Lang {
    /// The language of a primary subtag (RFC 5646 section 2.2.1) in lower case.
    pub(crate) fn parse(code: &str) -> Option<Self> {
        match code {
            "en" => Some(Lang::En),
            "es" => Some(Lang::Es),
            _ => None,
        }
    }

    /// The value of `lang` attributes.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Lang::En => "en",
            Lang::Es => "es",
        }
    }

    /// The other one.
    pub(crate) fn other(self) -> Self {
        match self {
            Lang::En => Lang::Es,
            Lang::Es => Lang::En,
        }
    }

    /// What the pages say in it.
    pub(crate) fn text(self) -> &'static Text {
        match self {
            Lang::En => &EN,
            Lang::Es => &ES,
        }
    }
}

/// Puts `values` in the place of their names.
pub(crate) fn fill(text: &str, values: &[(&str, &str)]) -> String {
    let mut out = String::with_capacity(text.len() + 64);
    let mut rest = text;
    // One pass, so that a value that looks like a placeholder stays what it is.
    while let Some((before, from)) = rest.split_once('{') {
        out.push_str(before);
        let Some((name, after)) = from.split_once('}') else {
            break;
        };
        out.push_str(
            values
                .iter()
                .find(|(known, _)| *known == name)
                .map_or("", |(_, value)| value),
        );
        rest = after;
    }
    out.push_str(rest);
    out
}

macro_rules! texts {
    ($($key:ident: $en:literal, $es:literal;)*) => {
        /// Every text of the pages in one language.
        pub(crate) struct Text {
            $(pub(crate) $key: &'static str,)*
        }

        static EN: Text = Text { $($key: $en,)* };
        static ES: Text = Text { $($key: $es,)* };

        /// Every key with its English and its Spanish text.
        #[cfg(test)]
        const ALL: &[(&str, &str, &str)] = &[$((stringify!($key), $en, $es),)*];
    };
}

texts! {
    language_name: "English", "Español";
    language_label: "Language", "Idioma";
    skip: "Skip to the content", "Ir al contenido";
    brand: "Secure messages", "Mensajes seguros";
    error_prefix: "Error: ", "Error: ";
    footer: "This page has no advertising, no tracking and no scripts.", "Esta página no tiene publicidad, rastreo ni programas.";

    home_title: "Secure messages", "Mensajes seguros";
    home_lead: "To read a message, open the link in the notice that you received by email.", "Para leer un mensaje, abra el enlace del aviso que recibió por correo electrónico.";
    home_how: "How it works", "Cómo funciona";
    home_1: "Open the link in the notice.", "Abra el enlace del aviso.";
    home_2: "Ask for a one-time code. It goes to the email address that received the notice.", "Pida un código de un solo uso. Llegará a la dirección de correo que recibió el aviso.";
    home_3: "Enter the code and read the message.", "Escriba el código y lea el mensaje.";
    home_safe: "We never ask for a password, a card number or a social security number.", "Nunca le pediremos una contraseña, un número de tarjeta ni un número de seguro social.";

    entry_title: "A secure message from {organisation}", "Un mensaje seguro de {organisation}";
    ask_lead: "To protect your privacy, the message opens only with a one-time code.", "Para proteger su privacidad, el mensaje solo se abre con un código de un solo uso.";
    ask_where: "We send the code to the email address that received the notice. It is good for {minutes} minutes, in this browser.", "Enviaremos el código a la dirección de correo que recibió el aviso. Sirve durante {minutes} minutos, en este navegador.";
    ask_button: "Send me a code", "Enviarme un código";
    enter_lead: "We have sent a code to the email address that received the notice.", "Hemos enviado un código a la dirección de correo que recibió el aviso.";
    enter_label: "One-time code", "Código de un solo uso";
    enter_hint: "8 digits, such as 1234 5678", "8 cifras, por ejemplo 1234 5678";
    enter_button: "Open the message", "Abrir el mensaje";
    enter_again: "No code after two minutes? Look in the spam folder too.", "¿No llega el código en dos minutos? Mire también en la carpeta de correo no deseado.";
    enter_again_button: "Send a new code", "Enviar un código nuevo";

    error_title: "There is a problem", "Hay un problema";
    error_wrong: "The code is wrong, or it is no longer good. Check the newest mail from us, or ask for a new code.", "El código no es correcto o ya no es válido. Revise nuestro correo más reciente o pida un código nuevo.";
    error_digits: "Enter the 8 digits of the code.", "Escriba las 8 cifras del código.";
    error_browser: "This browser has no code that is good. Codes work only in the browser that asked for them, which must accept cookies. Ask for a new code.", "Este navegador no tiene un código válido. El código solo sirve en el navegador que lo pidió, que debe aceptar cookies. Pida un código nuevo.";
    error_wait: "Too many codes were sent. A new one can be sent in {minutes}, after {time}.", "Se enviaron demasiados códigos. Podrá pedir otro dentro de {minutes} (a esta hora: {time}).";
    locked_title: "The message is locked for now", "El mensaje está bloqueado por ahora";
    locked_lead: "Too many wrong codes were entered. Nothing of the message was shown.", "Se escribieron demasiados códigos incorrectos. No se mostró nada del mensaje.";
    locked_until: "You can try again in {minutes}, after {time}.", "Podrá intentarlo de nuevo dentro de {minutes} (a esta hora: {time}).";
    locked_not_you: "If it was not you, please tell {organisation}.", "Si no fue usted, avise a {organisation}.";
    locked_retry: "Try again", "Intentar de nuevo";
    minute: "1 minute", "1 minuto";
    minutes: "{n} minutes", "{n} minutos";

    over_notice: "The message is closed. Ask for a new code to open it.", "El mensaje está cerrado. Pida un código nuevo para abrirlo.";
    left_notice: "You have signed out. The message is closed in this browser.", "Ha cerrado la sesión. El mensaje está cerrado en este navegador.";

    message_no_subject: "(no subject)", "(sin asunto)";
    message_from: "From", "De";
    message_date: "Date", "Fecha";
    message_closes: "For your privacy, this page closes in {minutes}. To go on after that, ask for a new code.", "Para proteger su privacidad, esta página se cerrará dentro de {minutes}. Para seguir después, pida un código nuevo.";
    message_leave: "Sign out", "Cerrar sesión";
    message_frame: "Text of the message", "Texto del mensaje";
    message_alone: "Open the text in a tab of its own", "Abrir el texto en otra pestaña";
    message_plain: "Show as plain text", "Mostrar como texto sin formato";
    message_empty: "This message has no text.", "Este mensaje no tiene texto.";
    message_files: "Attachments", "Archivos adjuntos";
    message_download: "Download", "Descargar";
    message_until: "The message can be read until {date}. Save what you need before that.", "El mensaje se puede leer hasta el {date}. Guarde antes lo que necesite.";
    message_doubt: "Questions? Write to {address}, or call the number that you already have.", "¿Preguntas? Escriba a {address} o llame al número que ya tiene.";

    unsubscribe_title: "Unsubscribe", "Cancelar la suscripción";
    unsubscribe_lead: "Do you want no more advertising and news by email from {organisation}?", "¿Desea no recibir más publicidad ni noticias por correo electrónico de {organisation}?";
    unsubscribe_button: "Unsubscribe me", "Cancelar mi suscripción";
    unsubscribe_care: "Messages about your care, such as appointments and results, still come.", "Los mensajes sobre su atención, como citas y resultados, seguirán llegando.";
    unsubscribed_title: "You are unsubscribed", "Su suscripción está cancelada";
    unsubscribed_lead: "{organisation} sends you no more advertising and news by email. This holds from now on.", "{organisation} ya no le enviará publicidad ni noticias por correo electrónico. Vale desde ahora.";

    missing_title: "This link does not work", "Este enlace no funciona";
    missing_lead: "The link may be incomplete, or the message may no longer be available.", "Puede que el enlace esté incompleto o que el mensaje ya no esté disponible.";
    missing_what: "Open the link in the notice once more. If that does not help, contact whoever sent it, at the number that you already have: they can send you a new notice.", "Abra otra vez el enlace del aviso. Si no funciona, comuníquese con quien lo envió, al número que ya tiene: puede enviarle un aviso nuevo.";
    later_title: "Please try again in a moment", "Inténtelo de nuevo en un momento";
    later_lead: "We cannot answer just now. Your message is safe.", "No podemos responder en este momento. Su mensaje está a salvo.";
    broken_title: "Something went wrong on our side", "Algo falló de nuestro lado";
    broken_lead: "The page cannot be shown. Your message is safe. Please try again, and tell the sender if it does not help.", "No se puede mostrar la página. Su mensaje está a salvo. Inténtelo de nuevo y, si no funciona, avise al remitente.";
    conflict_title: "The message was used at the same time", "El mensaje se usó al mismo tiempo";
    conflict_lead: "Perhaps a button was pressed twice, or the page is open in another tab. Please try again.", "Quizá se pulsó dos veces un botón o la página está abierta en otra pestaña. Inténtelo de nuevo.";
    foreign_title: "This request was refused", "Se rechazó esta solicitud";
    foreign_lead: "It did not come from this page. Open the link in the notice once more.", "No llegó desde esta página. Abra otra vez el enlace del aviso.";
    refused_title: "This page cannot be opened like this", "Esta página no se puede abrir así";
    refused_lead: "Open the link in the notice once more.", "Abra otra vez el enlace del aviso.";
    retry: "Try again", "Intentar de nuevo";
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<&str> {
        let mut names: Vec<&str> = text
            .split('{')
            .skip(1)
            .filter_map(|from| from.split('}').next())
            .collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn both_languages_say_everything() {
        for (key, en, es) in ALL {
            assert!(!en.trim().is_empty() && !es.trim().is_empty(), "{key} is empty");
            assert!(en != es || *key == "error_prefix", "{key} is not translated");
            assert_eq!(names(en), names(es), "{key}");
        }
        assert!(ALL.len() > 50);
    }

    #[test]
    fn values_are_filled_in_once() {
        assert_eq!(fill("From {a} to {b}.", &[("a", "{b}"), ("b", "x")]), "From {b} to x.");
        assert_eq!(fill("{unknown}.", &[]), ".");
    }
}
