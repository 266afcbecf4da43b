//! What labelers are told where the spec names no file of its own: one short text per task, in this project's words
//! (the paper gave about a hundred examples and long instructions, which are not published as text).

use crate::spec::TaskPreset;

/// Markdown.
pub fn built_in(preset: TaskPreset) -> &'static str {
    match preset {
        TaskPreset::Sentiment => {
            "# Which continuation is the most positive and happy?\n\n\
             Read the beginning of the text and its continuations. Choose the one that is the most positive, happy or \
             optimistic.\n\n\
             - What counts is the mood of the continuation, not of the beginning.\n\
             - A continuation that makes no sense is worse than one that does, unless all others are sad.\n\
             - Length does not matter. If two are equally good, choose either.\n"
        }
        TaskPreset::Descriptiveness => {
            "# Which continuation is the most vividly descriptive?\n\n\
             Read the beginning of the text and its continuations. Choose the one that makes you see, hear or feel the most: \
             concrete details, colours, sounds, places, gestures.\n\n\
             - A continuation that makes no sense is worse than one that does, however colourful.\n\
             - Length does not matter. If two are equally good, choose either.\n"
        }
        TaskPreset::Tldr => {
            "# Which summary of the post is the best?\n\n\
             Read the post and then the summaries. Choose the one that tells a reader who has not seen the post what it is \
             about.\n\n\
             - It must be true: a summary that says what the post does not say is worse than one that leaves something out.\n\
             - It should name what matters most to the author, and what is asked.\n\
             - Copying sentences is allowed where they are the right ones. Ignore a sentence that is cut off at the end.\n"
        }
        TaskPreset::Cnndm => {
            "# Which summary of the article is the best?\n\n\
             Read the article and then the summaries. Choose the one that tells a reader who has not seen the article its \
             news.\n\n\
             - It must be true: a summary that says what the article does not say is worse than one that leaves something \
             out.\n\
             - Who did what, when and where comes before background.\n\
             - Copying sentences is allowed where they are the right ones. Ignore a sentence that is cut off at the end.\n"
        }
        TaskPreset::Custom => {
            "# Which response is the best?\n\n\
             Read the text and then the responses. Choose the one that you would rather read. If two are equally good, choose \
             either.\n"
        }
    }
}
