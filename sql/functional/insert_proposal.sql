-- A pending proposal of the validation's own, in the run of its own message.
INSERT INTO public.topic_proposals (id, extraction_run_id, name, description, confidence, status, reasoning)
VALUES (%(id)s, %(run)s, %(name)s, 'Made by a functional validation, which removes it again.', %(confidence)s, 'pending',
        'A functional validation of the running service')
