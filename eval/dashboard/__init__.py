"""The pages of `riddle dashboard`; Streamlit is imported here and nowhere else."""
